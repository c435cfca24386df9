// Numeric inputs: signals along their positions, and of all other features the strongest ones as bars from a common zero.

import type { Page } from "../api/pageOfMaps";
import type { Line, Method } from "../api/types";
import { short, withSign } from "../format/numbers";
import { clips, tile } from "../state/model";
import { css, mapColour } from "./colour";
import { SignalMap } from "./SignalMap";
import { groups, isSignal } from "./signals";

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
  const signals = groups(features).filter(isSignal);
  const within = (i: number): boolean => signals.some((g) => i >= g.start && i < g.start + g.count);
  const order = [...values.keys()]
    .filter((i) => !within(i))
    .sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!) || a - b);
  const shown = order.slice(0, SHOWN[tile.value]);
  const share = (v: number): number => (clip > 0 ? Math.min(1, Math.abs(v) / clip) : 0) * (method.signed ? 50 : 100);
  return (
    <>
      {signals.map((g) => (
        <SignalMap
          key={g.name}
          group={g}
          values={values}
          inputs={inputs}
          clip={clip}
          method={method}
          tile={tile.value}
          row={row}
          column={column}
        />
      ))}
      {order.length > 0 && (
        <div class="bars">
          {shown.map((i) => {
            const value = values[i]!;
            const left = !method.signed ? 0 : value < 0 ? 50 - share(value) : 50;
            const bar = {
              left: `${left}%`,
              width: `${share(value)}%`,
              background: css(mapColour(value, clip, method.signed)),
            };
            return (
              <div class="bar-row" key={i} title={`${features[i]} = ${short(inputs[i] ?? null, 6)}`}>
                <span class="bar-name">{features[i]}</span>
                <span class="bar-track">
                  <span class="bar" style={bar} />
                </span>
                <span class="bar-value">
                  {Number.isFinite(value) ? (method.signed ? withSign(value, 3) : short(value)) : "NaN"}
                </span>
              </div>
            );
          })}
          {order.length > shown.length && <div class="bar-more">{order.length - shown.length} weaker features</div>}
        </div>
      )}
    </>
  );
}
