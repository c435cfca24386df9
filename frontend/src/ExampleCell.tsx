// Who is shown: what the model said, what was right, and which class the maps explain.
import { percent, short } from "./numbers";
import type { Row } from "./types";

const name = (unit: number | null, title: string | null): string => title ?? (unit === null ? "–" : `class ${unit}`);

export function ExampleCell({ row }: { row: Row }) {
  const map = row.maps.find((m) => m !== null) ?? null;
  const explained = map === null ? "–" : map.target === null ? "sum of outputs" : name(map.target, map.target_name);
  const answer = map !== null && map.target === row.predicted ? map.probability : null;
  return (
    <>
      <div class="predicted">
        <span class="class" title={`predicted: ${name(row.predicted, row.predicted_name)}`}>
          {name(row.predicted, row.predicted_name)}
        </span>
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
