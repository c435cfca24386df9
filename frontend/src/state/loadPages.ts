// Loads the page of examples that the view asks for, prefetches the next one, and moves between pages.
import { batch, computed, effect, untracked } from "@preact/signals";
import { facetUrl, fetchFacet, pageUrl } from "../api/requests";
import type { Modality } from "../api/types";
import type { View } from "./address";
import { failureOf, retries } from "./failure";
import { facet, loading, page, pageFailure } from "./loaded";
import { abortPage, cachedPage, pageArrived } from "./pageCache";
import { storeInfo } from "./stores";
import { change, view } from "./view";

const DIM_AFTER_MS = 150;

export function turnPage(by: number): void {
  goToRank(view.value.offset + by * view.value.limit);
}

/** Show the page that begins with this rank, counted from 0. */
export function goToRank(rank: number): void {
  const total = page.value?.page.header.total ?? 0;
  const offset = Math.max(0, Math.round(rank));
  if (offset !== view.value.offset && offset < Math.max(1, total)) change({ offset }, true);
}

/** The longest side in pixels that the server sends maps in; null for texts and features alone. */
export const mapSize = (v: View, modality: Modality): number | null =>
  modality === "image" || modality === "mixed"
    ? Math.min(1024, Math.round(v.tile * Math.min(2, Math.max(1, window.devicePixelRatio))))
    : null;

/** Resolves after the next frame; in a hidden tab, which has no frames, after half a second. */
const nextFrame = (): Promise<void> =>
  new Promise((resolve) => {
    const late = setTimeout(resolve, 500);
    requestAnimationFrame(() => {
      clearTimeout(late);
      setTimeout(resolve);
    });
  });

/** The address of the latest page requested for the view. */
let requestedUrl = "";

async function loadPage(url: string, nextUrl: string): Promise<void> {
  // A superseded request must not delay this one.
  if (requestedUrl !== url && untracked(() => page.value?.url) !== requestedUrl) abortPage(requestedUrl);
  requestedUrl = url;
  const isCurrent = (): boolean => requestedUrl === url;
  const late = setTimeout(() => {
    loading.value = true;
  }, DIM_AFTER_MS);
  try {
    const loaded = await cachedPage(url);
    if (!isCurrent()) return;
    batch(() => {
      page.value = { url, page: loaded };
      pageFailure.value = null;
    });
    await nextFrame(); // paint first, prefetch then
    const { offset, rows, total } = loaded.header;
    if (isCurrent() && offset + rows.length < total) cachedPage(nextUrl).catch(() => undefined);
  } catch (error) {
    if (isCurrent()) pageFailure.value = failureOf(error);
  } finally {
    clearTimeout(late);
    if (isCurrent()) loading.value = false;
  }
}

let facetAbort: AbortController | null = null;

async function loadFacet(url: string): Promise<void> {
  facetAbort?.abort();
  const abort = new AbortController();
  facetAbort = abort;
  try {
    await pageArrived(requestedUrl); // the page first
    await nextFrame();
    if (!abort.signal.aborted) facet.value = await fetchFacet(url, abort.signal);
  } catch {
    if (!abort.signal.aborted) facet.value = null; // the page shows what is wrong
  }
}

const isNumeric = (field: string): boolean => field !== "errors" && field !== "id";

export function followPages(): void {
  const urls = computed(() => {
    const v = view.value;
    const info = storeInfo.value;
    if (!info || v.pane !== "examples") return null;
    const size = mapSize(v, info.modality);
    const next = { ...v, offset: v.offset + v.limit };
    return `${pageUrl(v, info.version, size)}\n${pageUrl(next, info.version, size)}`; // a string, to be compared
  });
  effect(() => {
    void retries.value;
    if (urls.value === null) return;
    const [url, nextUrl] = urls.value.split("\n") as [string, string];
    untracked(() => void loadPage(url, nextUrl));
  });
  const histogramUrl = computed(() => {
    const v = view.value;
    const info = storeInfo.value;
    return info && v.pane === "examples" && isNumeric(v.sort) ? facetUrl(v, info.version) : null;
  });
  effect(() => {
    const url = histogramUrl.value;
    if (url === null) facet.value = null;
    else untracked(() => void loadFacet(url));
  });
}
