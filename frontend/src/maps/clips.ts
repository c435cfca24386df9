// Where the colour scales of maps end, and which maps share one scale.
import { computed, type ReadonlySignal } from "@preact/signals";
import type { Page } from "../api/pageOfMaps";
import { CLIPS, type Clip, type Scope } from "../state/address";
import { page } from "../state/loaded";
import { pieces, scope, view } from "../state/view";
import { textRow, wordQuantile } from "./textRows";

export const SCOPE_TITLES: Record<Scope, string> = { map: "each map", row: "each row", page: "whole page" };

/** The clip among a map's quantiles [q50, q90, q95, q99, q100] of |values|. */
export function clipValue(quantiles: readonly number[], clip: Clip): number {
  return quantiles[1 + CLIPS.indexOf(clip)] ?? 0;
}

export const clipShare = (clip: Clip): number => Number(clip.slice(1)) / 100;

/** The clip of every map of a page: that of the map alone, or the largest of those that share the scale. */
export function sharedClips(clips: (number | null)[][], shared: Scope): number[][] {
  const largest = (values: (number | null)[]): number => values.reduce<number>((max, v) => Math.max(max, v ?? 0), 0);
  const ofPage = largest(clips.map(largest));
  const ofMap = { map: (clip: number | null) => clip ?? 0, row: (_: unknown, row: number) => row, page: () => ofPage };
  return clips.map((row) => {
    const ofRow = largest(row);
    return row.map((clip) => ofMap[shared](clip, ofRow));
  });
}

/** The clips of a page, [row][column]. */
export function clipsOf(of: Page, shared: Scope): number[][] {
  const { clip } = view.value;
  const clips = of.header.rows.map((row) =>
    row.maps.map((map, column) => {
      if (map === null || map.error !== undefined) return null;
      if (row.input.modality !== "text") return clipValue(map.quantiles, clip);
      return wordQuantile(textRow(of, row, pieces.value), column, clipShare(clip));
    }),
  );
  return sharedClips(clips, shared);
}

const cache = new WeakMap<Page, ReadonlySignal<number[][]>>();

/** The clips of a page that is shown, [row][column]; they follow the view. */
export function shownClips(of: Page): ReadonlySignal<number[][]> {
  const known = cache.get(of) ?? computed(() => clipsOf(of, scope.value));
  cache.set(of, known);
  return known;
}

/** The clips of the shown page, [row][column]. */
export const clips = computed<number[][]>(() => (page.value ? shownClips(page.value.page).value : []));
