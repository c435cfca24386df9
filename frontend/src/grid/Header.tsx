// Column heads: the method, how its pixels became one number, and its legend with numbers at both ends.

import type { Page } from "../api/pageOfMaps";
import { exportUrl } from "../api/requests";
import { count, short } from "../format/numbers";
import { SCOPE_TITLES } from "../maps/clips";
import { gradient } from "../maps/colour";
import { theme } from "../state/host";
import { active } from "../state/hover";
import { clips, scope, solo, store, view } from "../state/model";

const MINUS = "\u2212";

export function Header({ of }: { of: Page }) {
  const { kind, columns, total } = of.header;
  const info = store.value;
  const failed = info?.error === undefined ? (info?.errors ?? 0) : 0;
  return (
    <div role="row" class="row head" aria-rowindex={1}>
      <div role="columnheader" class="cell example">
        <div class="head-title">
          {count(total)} {total === 1 ? "example" : "examples"}
        </div>
        <div class="head-note">
          {failed > 0 ? (
            <span title="the pipeline stored why, in the errors files of this store">
              {count(failed)} could not be explained
            </span>
          ) : (
            "predicted class"
          )}
          {" · "}
          <a
            href={exportUrl(view.value, of.header.version)}
            download
            title={`the numbers of these examples, at most ${count(100_000)} of them`}
          >
            CSV
          </a>
        </div>
      </div>
      {kind === "image" && (
        <div role="columnheader" class="cell">
          <div class="head-title">Input</div>
        </div>
      )}
      {columns.map(({ key, title, method }, m) => (
        <div role="columnheader" class={`cell ${hidden(m) ? "hidden" : ""}`} key={key}>
          <div class="head-title" title={`${title}\n${parameters(method.parameters)}`}>
            {title}
          </div>
          <div class="head-note">
            {method.signed ? "signed" : "unsigned"}
            {method.reduction && ` · channel ${method.reduction}`}
          </div>
          <Legend column={m} signed={method.signed} words={kind === "text"} />
        </div>
      ))}
    </div>
  );
}

/** Whether a column makes way for the one that is shown alone. */
export const hidden = (column: number): boolean => solo.value !== null && solo.value !== column;

/** The ramp; its ends are the numbers of the map in hand, or of all maps where they share one scale. */
function Legend({ column, signed, words }: { column: number; signed: boolean; words: boolean }) {
  const { clip } = view.value;
  const shared = scope.value;
  const at = active.value;
  const row = shared === "page" ? 0 : at && (shared === "row" || at.column === column) ? at.row : null;
  const end = row === null ? clip : short(clips.value[row]?.[column] ?? 0);
  const title = `colours end at the ${clip} of |a|, taken over ${SCOPE_TITLES[shared]}${shared === "map" ? "" : " (the largest of its maps)"}; point at a map for its numbers`;
  return (
    <div class="legend" title={title}>
      <div class="legend-ramp" style={{ background: gradient(signed, words ? theme.value : null) }} />
      <div class="legend-ends">
        <span>{signed ? `${MINUS}${end}` : "0"}</span>
        {signed && <span>0</span>}
        <span>{signed ? `+${end}` : end}</span>
      </div>
    </div>
  );
}

function parameters(given: Record<string, unknown>): string {
  return Object.entries(given)
    .map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
    .join("\n");
}
