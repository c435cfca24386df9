// What the page shows and why: the view (mirrored in the address), the stores, the present page of examples.
import { batch, computed, effect, signal, untracked } from "@preact/signals";
import { fetchFaithfulness, fetchPage, fetchStores, pageUrl, RequestFailed } from "./api";
import type { Page } from "./decode";
import { DEFAULTS, readView, writeView, type View } from "./hash";
import { hostHash, onHostHash, setHostHash } from "./host";
import { clipShare, clipValue, pageClips } from "./quantiles";
import { textRow, wordQuantile } from "./texts";
import type { BrokenStore, Faithfulness, StoreInfo, Stores } from "./types";

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
export const faithfulness = signal<Faithfulness | null>(null);
export const summaryFailure = signal<Failure | null>(null);
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

const LOOK = new Set<keyof View>(["pane", "tile", "clip", "scope", "offset", "limit"]);

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

/** A view that names no store, or only its run, gets the first store there is. */
function withStore(v: View): View {
  if (v.run && v.store) return v;
  const here = (stores.value?.stores ?? []).filter((s) => !v.run || s.run === v.run);
  const first = here.find((s) => s.error === undefined) ?? here[0];
  return first ? { ...v, run: first.run, store: first.store } : v;
}

export async function loadStores(): Promise<void> {
  try {
    const found = await fetchStores();
    batch(() => {
      stores.value = found;
      storesFailure.value = null;
      if (!store.value) view.value = withStore(view.value);
    });
  } catch (error) {
    storesFailure.value = failure(error);
  }
}

const KEPT = 6;
interface Asked {
  page: Promise<Page>;
  abort: AbortController;
}
const kept = new Map<string, Asked>();
const pictures = new Map<Page, Map<number, string>>();
const retries = signal(0);

export function retry(): void {
  if (storesFailure.value) void loadStores();
  kept.clear();
  retries.value += 1;
}

/** The page at `url`: kept, on its way, or asked for now. */
function ask(url: string): Promise<Page> {
  let asked = kept.get(url);
  if (!asked) {
    const abort = new AbortController();
    asked = { page: fetchPage(url, abort.signal), abort };
    asked.page.catch(() => kept.delete(url));
  }
  kept.delete(url);
  kept.set(url, asked); // the last asked for is the last to go
  if (kept.size > KEPT) {
    const [oldest, dropped] = kept.entries().next().value!;
    kept.delete(oldest);
    dropped.abort.abort();
    dropped.page.then(releasePictures, () => undefined);
  }
  return asked.page;
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

async function summarise(v: View, version: string): Promise<void> {
  const asked = `${v.run}\n${v.store}\n${version}`;
  if (asked === summarised && !untracked(() => summaryFailure.value)) return;
  summarised = asked;
  faithfulness.value = summaryFailure.value = null;
  try {
    const found = await fetchFaithfulness(v, version);
    if (asked === summarised) faithfulness.value = found;
  } catch (error) {
    if (asked === summarised) summaryFailure.value = failure(error);
  }
}
let summarised = "";

let wish = "";

async function show(url: string, next: string): Promise<void> {
  // A superseded request must not hold back the one that is wanted; for pages that have come this does nothing.
  if (wish !== url && untracked(() => page.value?.url) !== wish) kept.get(wish)?.abort.abort();
  wish = url;
  const late = setTimeout(() => (loading.value = true), 150);
  try {
    const found = await ask(url);
    if (wish !== url) return;
    batch(() => {
      page.value = { url, page: found };
      pageFailure.value = null;
    });
    if (found.header.version !== untracked(() => (store.value as StoreInfo | null)?.version)) void loadStores();
    if (found.header.offset + found.header.rows.length < found.header.total) ask(next).catch(() => undefined);
  } catch (error) {
    if (wish === url) pageFailure.value = failure(error);
  } finally {
    clearTimeout(late);
    if (wish === url) loading.value = false;
  }
}

/** Start following the address and loading what it asks for. */
export function startModel(): void {
  view.value = readView(hostHash());
  onHostHash(() => {
    const read = readView(hostHash());
    // TensorBoard drops nothing of ours, but its own tabs have hashes without any: keep the store we show.
    const shown = view.value;
    const next = withStore(read.run ? read : { ...read, run: shown.run, store: shown.store });
    if (JSON.stringify(next) !== JSON.stringify(shown)) view.value = next;
  });
  void loadStores();
  const wanted = computed(() => {
    const [v, s] = [view.value, store.value];
    if (!s || s.error !== undefined || v.pane !== "examples") return null;
    const size = tilePixels(v, s.kind);
    return JSON.stringify([pageUrl(v, s.version, size), pageUrl({ ...v, offset: v.offset + v.limit }, s.version, size)]);
  });
  effect(() => {
    void retries.value;
    if (wanted.value === null) return;
    const [url, next] = JSON.parse(wanted.value) as [string, string];
    untracked(() => void show(url, next));
  });
  effect(() => {
    void retries.value;
    const [v, s] = [view.value, store.value];
    if (s && s.error === undefined && v.pane === "summary") untracked(() => void summarise(v, s.version));
  });
}
