// The strongest features as a table: also the accessible equivalent of the map.
import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { ExactMap } from "../api/requests";
import type { Column, Input, Row } from "../api/types";
import { attribution, percent, plain } from "../format/numbers";
import { nameOf, widthOf } from "./features";
import styles from "./TopFeatures.module.css";

/** How many features the table lists. */
const TOP = 15;

/** The column that the table is sorted by. */
const sortColumn = signal(0);

interface Props {
  row: Row;
  columns: readonly Column[];
  exactMaps: readonly (ExactMap | null)[];
}

/** Positions of the largest |values|, padding left out. */
export function strongest(values: Float32Array, input: Input): number[] {
  const isPadding = (i: number): boolean => input.modality === "text" && input.tokens[i] === "";
  const finite = [...values.keys()].filter((i) => Number.isFinite(values[i]!) && !isPadding(i));
  return finite.sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!) || a - b).slice(0, TOP);
}

export function TopFeatures({ row, columns, exactMaps }: Props) {
  const { input } = row;
  const known = columns.flatMap((column, m) => {
    const values = exactMaps[m]?.values;
    return values ? [{ column, m, values }] : [];
  });
  const sorted = known.find(({ m }) => m === sortColumn.value) ?? known[0];
  const top = useMemo(() => (sorted ? strongest(sorted.values, input) : []), [sorted?.m, exactMaps]);
  if (!sorted) return null;
  const total = sorted.values.reduce((sum, v) => sum + (Number.isFinite(v) ? Math.abs(v) : 0), 0);
  const width = widthOf(row.maps[sorted.m]);
  const feature = input.modality === "text" ? "token" : input.modality === "tabular" ? "feature" : "pixel";
  return (
    <section>
      <h3>Strongest {feature}s</h3>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">{feature}</th>
              {input.modality === "tabular" && <th scope="col">value</th>}
              {known.map(({ column, m }) => (
                <th scope="col" key={column.key} aria-sort={m === sorted.m ? "descending" : undefined}>
                  <button
                    type="button"
                    class={styles.sort}
                    onClick={() => {
                      sortColumn.value = m;
                    }}
                  >
                    {column.title}
                    {m === sorted.m ? " ↓" : ""}
                  </button>
                </th>
              ))}
              <th scope="col" title={`of the sum of |a| by ${sorted.column.title}`}>
                share
              </th>
            </tr>
          </thead>
          <tbody>
            {top.map((i) => (
              <tr key={i}>
                <th scope="row">{nameOf(input, width, i)}</th>
                {input.modality === "tabular" && <td>{input.texts?.[i] ?? plain(input.values[i] ?? null)}</td>}
                {known.map(({ column, values }) => (
                  <td key={column.key}>{attribution(values[i] ?? NaN, column.method.signed)}</td>
                ))}
                <td>{percent(total > 0 ? Math.abs(sorted.values[i]!) / total : null)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
