// One map with its caption, or the honest statement why there is none.
import type { ComponentChildren } from "preact";
import type { Page } from "../api/pageOfMaps";
import type { Method, StoredMap } from "../api/types";
import { count, percent, short } from "../format/numbers";
import { clips } from "../state/model";

export function State({
  text,
  hatched,
  title,
  size,
}: {
  text: string;
  hatched?: boolean;
  title?: string;
  size?: number | undefined;
}) {
  return (
    <div
      class={`state ${hatched ? "hatched" : ""}`}
      title={title}
      style={size ? { width: `${size}px`, height: `${size}px` } : {}}
    >
      <span>{text}</span>
    </div>
  );
}

/** What stands in a map's place, or null where the map itself is to be drawn. */
export function standIn(map: StoredMap | null, tile: number | undefined): ComponentChildren | null {
  if (map === null) return <State text="—" title="not computed" size={tile} />;
  if (map.error !== undefined) return <State text="cannot be read" title={map.error} size={tile} />;
  if (map.zero) return <State text="all zero" hatched size={tile} />;
  const length = "full" in map ? map.full[0] * map.full[1] : map.length;
  if (map.not_finite > 0 && map.scale === 0 && map.not_finite >= length)
    return <State text="NaN" hatched size={tile} />;
  return null;
}

/** The gap as a share of what was to be explained, where the method promises a sum. */
export function relativeGap(map: StoredMap): number | null {
  if (map.gap === null || map.score === null || map.baseline_score === null) return null;
  return map.gap === 0 ? 0 : Math.abs(map.gap / (map.score - map.baseline_score));
}

export function Caption({ of, row, column, map }: { of: Page; row: number; column: number; map: StoredMap | null }) {
  if (map === null || map.error !== undefined) return <div class="caption" />;
  const { pivot } = of.header;
  const method: Method = of.header.columns[column]!.method;
  const clip = clips.value[row]?.[column] ?? 0;
  const gap = relativeGap(map);
  const details =
    gap === null ? "" : `gap ${short(map.gap)} of f(x) − f(baseline) = ${short(map.score! - map.baseline_score!)}`;
  return (
    <div class="caption">
      <span hidden={clip === 0} title={`colours end at ${method.signed ? "±" : ""}${short(clip)}`}>
        {method.signed ? "±" : "≤ "}
        {short(clip)}
      </span>
      {gap !== null && (
        <span class={gap > 0.05 ? "gap large" : "gap"} title={details}>
          gap {percent(gap)}
        </span>
      )}
      {pivot === "runs" && map.step !== null && of.header.steps.length > 1 && (
        <span title="the latest step not after the one chosen">step {count(map.step)}</span>
      )}
      {(pivot === "steps" || pivot === "runs") && map.target !== null && (
        <span title="the class explained">{map.target_name ?? `class ${map.target}`}</span>
      )}
      {pivot === "targets" && map.score !== null && <span title="score of this class">{short(map.score)}</span>}
      {map.not_finite > 0 && (
        <span class="gap large" title="values that are not finite are painted yellow">
          {map.not_finite} NaN
        </span>
      )}
      {map.warnings.length > 0 && (
        <span
          class="warn"
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
