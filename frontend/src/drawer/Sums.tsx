// f(x) − f(baseline) = Σ attributions − gap, for each signed map.
import type { ExactMap } from "../api/requests";
import type { Column, StoredMap } from "../api/types";
import { percent, short } from "../format/numbers";

interface Props {
  columns: readonly Column[];
  maps: readonly (StoredMap | null)[];
  /** Of each input by column. */
  exactMaps: readonly (readonly (ExactMap | null)[])[];
}

export function Sums({ columns, maps, exactMaps }: Props) {
  const rows = columns.flatMap((column, m) => {
    const map = maps[m];
    if (!map || map.error !== undefined || !column.method.signed || column.change) return [];
    const values = exactMaps.map((ofInput) => ofInput[m]?.values);
    const isLoaded = values.length > 0 && values.every((of) => of);
    const numbers = values.flatMap((of) => [...(of ?? [])].filter((v) => !Number.isNaN(v))); // NaN is not explained
    const sum = isLoaded && numbers.length > 0 ? numbers.reduce((x, y) => x + y, 0) : null;
    return [{ column, map, sum }];
  });
  if (rows.length === 0) return null;
  return (
    <section>
      <h3>What the maps sum to</h3>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <td />
              <th scope="col">f(x)</th>
              <th scope="col">− f(baseline)</th>
              <th scope="col">= Σ attributions</th>
              <th scope="col">− gap</th>
              <th scope="col">share</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ column, map, sum }) => (
              <tr key={column.key} class={map.gap === null ? "faint" : ""}>
                <th scope="row">{column.title}</th>
                <td>{short(map.score, 4)}</td>
                <td>{short(map.baseline_score, 4)}</td>
                <td>{short(sum, 4)}</td>
                <td>{map.gap === null ? "no promise" : short(map.gap)}</td>
                <td>{percent(map.relative_gap)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
