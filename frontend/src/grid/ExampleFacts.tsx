// What is known about an example: predicted class, label, the class its maps explain, score, id and slice features.
import { Fragment } from "preact";
import type { Row, SliceFeature, StoredMap } from "../api/types";
import { className } from "../format/names";
import { percent, plain, short } from "../format/numbers";
import { isOn, sliceTerm, terms } from "../state/filterTerms";
import { storeInfo } from "../state/stores";
import { addFilterTerm, view } from "../state/view";
import styles from "./ExampleFacts.module.css";

/** The map whose numbers are shown: of the last step, and of the predicted class if it was explained. */
export function shownMap(row: Row): StoredMap | null {
  const maps = row.maps.filter((map): map is StoredMap => map !== null && (map.step !== null || map.score !== null));
  const lastStep = Math.max(...maps.map((map) => map.step ?? 0));
  const last = maps.filter((map) => (map.step ?? 0) === lastStep);
  return last.find((map) => map.target === row.predicted) ?? last[0] ?? null;
}

/** Whether the model predicts a number, not classes. */
const isQuantity = (row: Row, map: StoredMap | null): boolean =>
  row.predicted === null && map?.target === 0 && map.target_name === null && map.probability === null;

/** What a map explains, in words; of a model of one quantity its output. */
export function explainedClass(map: StoredMap | null, ofQuantity = false): string {
  if (map === null) return "–";
  const scoreFunction = map.score_function ?? "sum";
  if (map.target === null) return scoreFunction === "sum" ? "sum of outputs" : scoreFunction;
  const name = ofQuantity ? "the output" : className(map.target, map.target_name);
  if (scoreFunction === "region") return `${name}, where it is predicted`;
  const position = map.target_index?.slice(0, -1) ?? [];
  return position.length > 0 ? `${name} at ${position.join(", ")}` : name;
}

const MOST_IN_GRID = 3;

/** The slice features of the store: in the grid at most three, those first that the order and the filter name. */
function shownSlices(inGrid: boolean): readonly SliceFeature[] {
  const slices = storeInfo.value?.slices ?? [];
  if (!inGrid || slices.length <= MOST_IN_GRID) return slices;
  const { sort, filter } = view.value;
  const inUse = ({ field }: SliceFeature): boolean => field === sort || terms(filter).some((term) => isOn(term, field));
  return [...slices.filter(inUse), ...slices.filter((slice) => !inUse(slice))].slice(0, MOST_IN_GRID);
}

/** Slice features and their values, each a button that filters by it. */
function SliceFacts({ row, inGrid }: { row: Row; inGrid: boolean }) {
  return shownSlices(inGrid).map(({ name, field }) => {
    const value = row.slices[name];
    return (
      <Fragment key={name}>
        <dt title={field}>{field}</dt>
        <dd data-slice={name}>
          {value == null ? (
            "–"
          ) : (
            <button
              type="button"
              class={styles.value}
              tabIndex={inGrid ? -1 : undefined}
              title={`${value}: only these`}
              onClick={() => addFilterTerm(sliceTerm(field, value))}
            >
              {typeof value === "number" ? plain(value) : value}
            </button>
          )}
        </dd>
      </Fragment>
    );
  });
}

export function ExampleFacts({ row, open }: { row: Row; open?: () => void }) {
  const map = shownMap(row);
  const ofQuantity = isQuantity(row, map);
  const explained = explainedClass(map, ofQuantity);
  const predicted = ofQuantity ? short(map?.score ?? null, 4) : className(row.predicted, row.predicted_name);
  const label = className(row.label, row.label_name);
  const probability = map !== null && map.target === row.predicted ? map.probability : null;
  return (
    <>
      <div class={styles.predicted}>
        {open ? (
          <button
            type="button"
            class={styles.class}
            tabIndex={-1}
            title={`predicted: ${predicted}; open`}
            onClick={open}
          >
            {predicted}
          </button>
        ) : (
          <span class={styles.class}>{predicted}</span>
        )}
        {probability !== null && <span class={styles.probability}>{percent(probability)}</span>}
      </div>
      {probability !== null && (
        <div class={styles.track}>
          <div style={{ width: `${Math.min(1, Math.max(0, probability)) * 100}%` }} />
        </div>
      )}
      <dl class={`${styles.facts} ${open ? styles.inGrid : ""}`}>
        {(row.label !== null || row.label_name !== null) && (
          <>
            <dt>label</dt>
            <dd class={row.misclassified ? styles.wrong : ""} title={label}>
              {row.misclassified && <Unequal />}
              {label}
            </dd>
          </>
        )}
        <dt>explains</dt>
        <dd title={explained}>
          {explained}
          {probability === null && map?.probability != null && ` ${percent(map.probability)}`}
        </dd>
        <dt>score</dt>
        <dd data-fact="score">{short(map?.score ?? null, 4)}</dd>
        <dt>id</dt>
        <dd data-fact="id" title={row.id}>
          {row.id}
        </dd>
        <SliceFacts row={row} inGrid={open !== undefined} />
      </dl>
    </>
  );
}

function Unequal() {
  return (
    <>
      <span aria-hidden="true">≠ </span>
      <span class="unseen">misclassified </span>
    </>
  );
}
