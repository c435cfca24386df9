// The map of a tabular example: signals along their positions, and the strongest other features as bars from one zero.
import type { Page } from "../api/pageOfMaps";
import type { Method, TabularInput, ValuesMap } from "../api/types";
import { attribution, plain } from "../format/numbers";
import { tile } from "../state/view";
import { shownClips } from "./clips";
import { css, mapColour } from "./colour";
import { featureName, inputRanges, isSignal } from "./inputParts";
import { SignalMap } from "./SignalMap";
import styles from "./TabularMap.module.css";

interface Props {
  page: Page;
  row: number;
  column: number;
  map: ValuesMap;
  method: Method;
  input: TabularInput;
}

/** How many bars fit, by tile size. */
const BARS: Record<number, number> = { 64: 4, 112: 7, 224: 14 };

export function TabularMap({ page, row, column, map, method, input }: Props) {
  const values = page.floats(map.values);
  const clip = shownClips(page).value[row]?.[column] ?? 0;
  const signals = inputRanges(input.inputs).filter(isSignal);
  const isInSignal = (i: number): boolean => signals.some(({ start, size }) => i >= start && i < start + size);
  const size = (i: number): number => (Number.isNaN(values[i]!) ? -1 : Math.abs(values[i]!)); // NaN last
  const strongest = [...values.keys()].filter((i) => !isInSignal(i)).sort((a, b) => size(b) - size(a) || a - b);
  const bars = strongest.slice(0, BARS[tile.value]);
  const weaker = strongest.length - bars.length;
  return (
    <>
      {signals.map((range) => (
        <SignalMap
          key={range.name}
          range={range}
          values={values}
          inputs={input.values}
          clip={clip}
          method={method}
          tile={tile.value}
          row={row}
          column={column}
        />
      ))}
      {bars.length > 0 && (
        <div class={styles.bars}>
          {bars.map((i) => (
            <Bar
              key={i}
              name={featureName(input, i)}
              input={input.texts?.[i] ?? plain(input.values[i] ?? null)}
              value={values[i]!}
              clip={clip}
              signed={method.signed}
            />
          ))}
          {weaker > 0 && <div class={styles.more}>{weaker} weaker features</div>}
        </div>
      )}
    </>
  );
}

function Bar(props: { name: string; input: string; value: number; clip: number; signed: boolean }) {
  const { name, input, value, clip, signed } = props;
  const length = (clip > 0 ? Math.min(1, Math.abs(value) / clip) : 0) * (signed ? 50 : 100);
  const left = !signed ? 0 : value < 0 ? 50 - length : 50;
  const bar = { left: `${left}%`, width: `${length}%`, background: css(mapColour(value, clip, signed)) };
  return (
    <div class={styles.row} title={`${name} = ${input}`}>
      <span class={styles.name}>
        {name} <span class={styles.input}>= {input}</span>
      </span>
      <span class={styles.track}>
        <span class={styles.bar} style={bar} />
      </span>
      <span class={styles.value}>{Number.isFinite(value) ? attribution(value, signed, 3) : "NaN"}</span>
    </div>
  );
}
