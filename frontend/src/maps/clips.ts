// Where colour scales are clipped, and whose values share one scale.
export const CLIPS = ["p90", "p95", "p99", "p100"] as const;
export type Clip = (typeof CLIPS)[number];

export const SCOPES = ["map", "row", "page"] as const;
export type Scope = (typeof SCOPES)[number];
export const SCOPE_TITLES: Record<Scope, string> = { map: "each map", row: "each row", page: "whole page" };

/** The clip value among a map's quantiles [q50, q90, q95, q99, q100]. */
export function clipValue(quantiles: readonly number[], clip: Clip): number {
  return quantiles[1 + CLIPS.indexOf(clip)] ?? 0;
}

export const clipShare = (clip: Clip): number => Number(clip.slice(1)) / 100;

/** Linear-interpolated quantile of |values|, as NumPy's default; 0 where nothing is finite. */
export function quantileOfAbs(values: readonly number[], q: number): number {
  const sorted = values
    .filter(Number.isFinite)
    .map(Math.abs)
    .sort((a, b) => a - b);
  if (sorted.length === 0) return 0;
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}

/** The clip of every map of a page: its own, or the largest among those that share the scale. */
export function pageClips(own: (number | null)[][], scope: Scope): number[][] {
  const largest = (values: (number | null)[]): number => values.reduce<number>((m, v) => Math.max(m, v ?? 0), 0);
  const all = largest(own.map(largest));
  return own.map((row) => row.map((value) => (scope === "map" ? (value ?? 0) : scope === "row" ? largest(row) : all)));
}

/** The share of an ascending array that is not above a value. */
export function rank(sorted: Float32Array, value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return sorted.length ? low / sorted.length : 0;
}
