// What the page shows and why: the view (mirrored in the address), the stores, the present page of examples.
import { batch, computed, effect, signal, untracked } from "@preact/signals";
import { fetchPage, fetchStores, pageUrl, RequestFailed } from "./api";
import type { Page } from "./decode";
import { DEFAULTS, readView, writeView, type View } from "./hash";
import { hostHash, onHostHash, setHostHash } from "./host";
import { clipShare, clipValue, pageClips } from "./quantiles";
import { textRow, wordQuantile } from "./texts";
import type { BrokenStore, StoreInfo, Stores } from "./types";

export interface Failure {
  sentence: string;
  route: string;
  status: number | null;
}

export const view = signal<View>(DEFAULTS);
export const stores = signal<Stores | null>(null);
export const storesFailure = signal<Failure | null>(null);
export const page = signal<{ url: string; page: Page } | null>(null);
export const pageFailure = signal<Failure | null>(null);
export const loading = signal(false);
/** While held, tiles show the input alone. */
export const peek = signal(false);
export const helpOpen = signal(false);

export const store = computed<StoreInfo | BrokenStore | null>(
  () => stores.value?.stores.find((s) => s.run === view.value.run && s.store === view.value.store) ?? null,
);

/** Each map's clip value, [row][method], in the present scope. */
export const clips = computed<number[][]>(() => {
  const { clip, scope } = view.value;
  const of = page.value?.page;
  if (!of) return [];
  const own = of.header.rows.map((row) =>
    row.maps.map((map, m) => {
      if (map === null || map.error !== undefined) return null;
      return row.input.type === "text" ? wordQuantile(textRow(of, row), m, clipShare(clip)) : clipValue(map.quantiles, clip);
    }),
  );
  return pageClips(own, scope);
});

const LOOK = new Set<keyof View>(["tile", "clip", "scope", "offset", "limit"]);

/** Change the view; anything that changes which examples come goes back to their first page. */
export function change(patch: Partial<View>, push = false): void {
  const restart = Object.keys(patch).some((key) => !LOOK.has(key as keyof View));
  view.value = { ...view.value, ...(restart ? { offset: 0 } : {}), ...patch };
  setHostHash(writeView(hostHash(), view.value), push);
}

export function turnPage(by: number): void {
  const total = page.value?.page.header.total ?? 0;
  const offset = Math.max(0, view.value.offset + by * view.value.limit);
  if (offset !== view.value.offset && offset < Math.max(1, total)) change({ offset }, true);
}

export async function loadStores(): Promise<void> {
  try {
    const found = await fetchStores();
    batch(() => {
      stores.value = found;
      storesFailure.value = null;
      if (!store.value) {
        const first = found.stores.find((s) => s.error === undefined) ?? found.stores[0];
        if (first && !view.value.run) view.value = { ...view.value, run: first.run, store: first.store };
      }
    });
  } catch (error) {
    storesFailure.value = failure(error);
  }
}

const KEPT = 6;
const kept = new Map<string, Promise<Page>>();
const pictures = new Map<Page, Map<number, string>>();
let running: AbortController | null = null;
const retries = signal(0);

export function retry(): void {
  if (storesFailure.value) void loadStores();
  kept.clear();
  retries.value += 1;
}

function remember(url: string, abort: AbortSignal): Promise<Page> {
  const found = kept.get(url) ?? fetchPage(url, abort);
  kept.delete(url);
  kept.set(url, found);
  found.catch(() => kept.delete(url));
  if (kept.size > KEPT) {
    const [oldest, dropped] = kept.entries().next().value!;
    kept.delete(oldest);
    dropped.then(releasePictures, () => undefined);
  }
  return found;
}

/** The object URL of a row's picture, made once for as long as its page is kept. */
export function pictureUrl(of: Page, row: number): string | null {
  const urls = pictures.get(of) ?? new Map<number, string>();
  pictures.set(of, urls);
  const known = urls.get(row);
  if (known) return known;
  const input = of.header.rows[row]!.input;
  if (input.type !== "image/png" && input.type !== "image/jpeg") return null;
  const url = URL.createObjectURL(new Blob([of.bytes(input.data)], { type: input.type }));
  urls.set(row, url);
  return url;
}

function releasePictures(of: Page): void {
  if (untracked(() => page.value?.page) === of) return;
  pictures.get(of)?.forEach((url) => URL.revokeObjectURL(url));
  pictures.delete(of);
}

function failure(error: unknown): Failure {
  if (error instanceof RequestFailed) return { sentence: error.message, route: error.route, status: error.status };
  return { sentence: String(error), route: "page", status: null };
}

const tilePixels = (v: View, kind: string): number | null =>
  kind === "image" ? Math.min(1024, Math.round(v.tile * Math.min(2, Math.max(1, window.devicePixelRatio)))) : null;

async function show(url: string, next: string): Promise<void> {
  running?.abort(); // a superseded request must not hold back the one that is wanted
  const mine = (running = new AbortController());
  const late = setTimeout(() => (loading.value = true), 150);
  try {
    const found = await remember(url, mine.signal);
    if (mine.signal.aborted) return;
    batch(() => {
      page.value = { url, page: found };
      pageFailure.value = null;
    });
    if (found.header.version !== untracked(() => (store.value as StoreInfo | null)?.version)) void loadStores();
    if (found.header.offset + found.header.rows.length < found.header.total) {
      remember(next, mine.signal).catch(() => undefined);
    }
  } catch (error) {
    if (!mine.signal.aborted) pageFailure.value = failure(error);
  } finally {
    clearTimeout(late);
    if (running === mine) loading.value = false;
  }
}

/** Start following the address and loading what it asks for. */
export function startModel(): void {
  view.value = readView(hostHash());
  onHostHash(() => {
    const read = readView(hostHash());
    // TensorBoard drops nothing of ours, but its own tabs have hashes without any: keep the store we show.
    const shown = view.value;
    const next = read.run ? read : { ...read, run: shown.run, store: shown.store };
    if (JSON.stringify(next) !== JSON.stringify(shown)) view.value = next;
  });
  void loadStores();
  const wanted = computed(() => {
    const [v, s] = [view.value, store.value];
    if (!s || s.error !== undefined) return null;
    const size = tilePixels(v, s.kind);
    return JSON.stringify([pageUrl(v, s.version, size), pageUrl({ ...v, offset: v.offset + v.limit }, s.version, size)]);
  });
  effect(() => {
    void retries.value;
    if (wanted.value === null) return;
    const [url, next] = JSON.parse(wanted.value) as [string, string];
    untracked(() => void show(url, next));
  });
}
