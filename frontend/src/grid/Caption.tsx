// The numbers below a map: the end of its colours, its gap, what is special about it.
import type { Page } from "../api/pageOfMaps";
import type { StoredMap } from "../api/types";
import { className } from "../format/names";
import { count, percent, short } from "../format/numbers";
import { clips } from "../maps/clips";
import styles from "./Caption.module.css";

/** Relative gaps above this are highlighted. */
const LARGE_GAP = 0.05;

export function Caption(props: { page: Page; row: number; column: number; map: StoredMap | null }) {
  const { page, row, column, map } = props;
  const { pivot, modality, columns, steps } = page.header;
  if (map === null || map.error !== undefined) return <div class={styles.caption} />;
  const { signed } = columns[column]!.method;
  const clip = clips.value[row]?.[column] ?? 0;
  return (
    <div class={`${styles.caption} ${modality === "image" ? "" : styles.wide}`}>
      <span hidden={clip === 0 || modality === "mixed"} title={`colours end at ${signed ? "±" : ""}${short(clip)}`}>
        {signed ? "±" : "≤ "}
        {short(clip)}
      </span>
      <Gap map={map} />
      {pivot === "runs" && map.step !== null && steps.length > 1 && (
        <span title="the latest step up to the chosen one">step {count(map.step)}</span>
      )}
      {(pivot === "steps" || pivot === "runs") && map.target !== null && (
        <span title="the class explained">{className(map.target, map.target_name)}</span>
      )}
      {pivot === "targets" && map.score !== null && <span title="score of this class">{short(map.score)}</span>}
      {map.not_finite > 0 && (
        <span class={styles.large} title="values that are not finite are painted yellow">
          {map.not_finite} NaN
        </span>
      )}
      {map.warnings.length > 0 && (
        <span
          class={styles.warning}
          title={map.warnings.join("\n")}
          role="img"
          aria-label={`warning: ${map.warnings.join("; ")}`}
        >
          !
        </span>
      )}
    </div>
  );
}

/** The gap as a share of the difference it belongs to, if the method is complete. */
function Gap({ map }: { map: StoredMap }) {
  const { gap, relative_gap, score, baseline_score } = map;
  if (relative_gap === null || score === null || baseline_score === null) return null;
  const isLarge = relative_gap > LARGE_GAP;
  const title = `gap ${short(gap)} of f(x) − f(baseline) = ${short(score - baseline_score)}`;
  return (
    <span class={isLarge ? styles.large : ""} title={title}>
      gap {percent(relative_gap)}
    </span>
  );
}
