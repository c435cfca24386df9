// One row of features: the strongest ones as bars from a common zero.
import { css, mapColour } from "./colour";
import type { Page } from "./decode";
import { clips, view } from "./model";
import { short, withSign } from "./numbers";
import type { Line, Method } from "./types";

interface Props {
  of: Page;
  row: number;
  column: number;
  map: Line;
  method: Method;
  features: readonly string[];
  inputs: readonly (number | null)[];
}

const SHOWN: Record<number, number> = { 64: 4, 112: 7, 224: 14 };

export function BarsMap({ of, row, column, map, method, features, inputs }: Props) {
  const values = of.floats(map.values);
  const clip = clips.value[row]?.[column] ?? 0;
  const order = [...values.keys()].sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!) || a - b);
  const shown = order.slice(0, SHOWN[view.value.tile]);
  const share = (v: number): number => (clip > 0 ? Math.min(1, Math.abs(v) / clip) : 0) * (method.signed ? 50 : 100);
  return (
    <div class="bars">
      {shown.map((i) => {
        const value = values[i]!;
        const left = !method.signed ? 0 : value < 0 ? 50 - share(value) : 50;
        const bar = { left: `${left}%`, width: `${share(value)}%`, background: css(mapColour(value, clip, method.signed)) };
        return (
          <div class="bar-row" key={i} title={`${features[i]} = ${short(inputs[i] ?? null, 6)}`}>
            <span class="bar-name">{features[i]}</span>
            <span class="bar-track">
              <span class="bar" style={bar} />
            </span>
            <span class="bar-value">{Number.isFinite(value) ? (method.signed ? withSign(value, 3) : short(value)) : "NaN"}</span>
          </div>
        );
      })}
      {order.length > shown.length && <div class="bar-more">{order.length - shown.length} weaker features</div>}
    </div>
  );
}
