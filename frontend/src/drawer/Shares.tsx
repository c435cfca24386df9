// How much of each map lies on each input of an example with several.
import type { Column, Row } from "../api/types";
import { percent, short } from "../format/numbers";
import { contribution } from "../maps/partPages";

export function Shares({ row, columns }: { row: Row; columns: readonly Column[] }) {
  const { input } = row;
  if (input.modality !== "mixed") return null;
  return (
    <section>
      <h3>What each input contributes</h3>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">input</th>
              {columns.map(({ key, title }) => (
                <th
                  scope="col"
                  key={key}
                  title="Σ attributions of the input, and its share of the sum of |a| over all inputs"
                >
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {input.parts.map(({ name }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                {columns.map(({ key, method }, m) => {
                  const { sum, share } = contribution(row.maps[m], [name]);
                  return (
                    <td key={key}>
                      {method.signed && sum !== null && `${short(sum)} `}
                      <span class="note">{percent(share)}</span>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
