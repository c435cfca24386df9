// Who is shown: what the model said, what was right, and which class the maps explain.

import type { Row, StoredMap } from "../api/types";
import { percent, short } from "../format/numbers";

const name = (unit: number | null, title: string | null): string => title ?? (unit === null ? "–" : `class ${unit}`);

/** The map whose numbers are told: of several steps the last; of several classes the predicted one, if it is there. */
function told(row: Row): StoredMap | null {
  const there = row.maps.filter((m): m is StoredMap => m !== null && (m.step !== null || m.score !== null));
  const latest = there.reduce((last, m) => Math.max(last, m.step ?? 0), -Infinity);
  const late = there.filter((m) => (m.step ?? 0) === latest);
  return late.find((m) => m.target === row.predicted) ?? late[0] ?? null;
}

export function ExampleCell({ row, open }: { row: Row; open?: () => void }) {
  const map = told(row);
  const explained = map === null ? "–" : map.target === null ? "sum of outputs" : name(map.target, map.target_name);
  const answer = map !== null && map.target === row.predicted ? map.probability : null;
  return (
    <>
      <div class="predicted">
        {open ? (
          <button
            type="button"
            class="class"
            tabIndex={-1}
            title={`predicted: ${name(row.predicted, row.predicted_name)}; open`}
            onClick={open}
          >
            {name(row.predicted, row.predicted_name)}
          </button>
        ) : (
          <span class="class">{name(row.predicted, row.predicted_name)}</span>
        )}
        {answer !== null && <span class="probability">{percent(answer)}</span>}
      </div>
      {answer !== null && (
        <div class="probability-track">
          <div style={{ width: `${Math.min(1, Math.max(0, answer)) * 100}%` }} />
        </div>
      )}
      <dl class="facts">
        {row.label !== null && (
          <>
            <dt>label</dt>
            <dd class={row.misclassified ? "wrong" : ""} title={name(row.label, row.label_name)}>
              {row.misclassified && <span aria-label="misclassified">≠ </span>}
              {name(row.label, row.label_name)}
            </dd>
          </>
        )}
        <dt>explains</dt>
        <dd title={explained}>
          {explained}
          {answer === null && map?.probability != null && ` ${percent(map.probability)}`}
        </dd>
        <dt>score</dt>
        <dd class="number">{short(map?.score ?? null, 4)}</dd>
        <dt>id</dt>
        <dd class="number" title={row.id}>
          {row.id}
        </dd>
      </dl>
    </>
  );
}
