// What the page shows and why: the view (mirrored in the address), the stores, the present page of examples.
import { batch, computed, effect, signal, untracked } from "@preact/signals";
import type { Page } from "../api/pageOfMaps";
import {
  type ExactMap,
  facetUrl,
  fetchExact,
  fetchFacet,
  fetchPage,
  fetchStores,
  fetchSummary,
  pageUrl,
  RequestFailed,
} from "../api/requests";
import type { BrokenStore, Facet, StoredMap, StoreInfo, Stores, Summaries } from "../api/types";
import { clipShare, clipValue, pageClips, type Scope } from "../maps/clips";
import { textRow, wordQuantile } from "../maps/textRows";
import { DEFAULTS, readView, scopeOf, type View, writeView } from "./address";
import { hostHash, onDataReloaded, onHostHash, setHostHash } from "./host";

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
export const facet = signal<Facet | null>(null);
export const summaries = signal<Partial<Summaries>>({});
export const summaryFailure = signal<Failure | null>(null);
/** The example in the drawer, by its row of a page: the present one, or one fetched for it alone. */
export const opened = signal<{ page: Page; row: number } | null>(null);
export const openedFailure = signal<Failure | null>(null);
/** What came while this was being read: shown when the person asks for it. */
export const fresh = signal<{ stores: Stores; more: number } | null>(null);
/** While held, tiles show the input alone. */
export const peek = signal(false);
/** The one column shown, or null for all. */
export const solo = signal<number | null>(null);
export const helpOpen = signal(false);

export const store = computed<StoreInfo | BrokenStore | null>(
  () => stores.value?.stores.find((s) => s.run === view.value.run && s.store === view.value.store) ?? null,
);
export const scope = computed<Scope>(() => scopeOf(view.value));
// Parts of the view of their own: what reads them is not drawn again when another part changes.
export const tile = computed(() => view.value.tile);
export const example = computed(() => view.value.example);
export const pieces = computed(() => view.value.pieces);
export const blanks = computed(() => view.value.blanks);
export const smooth = computed(() => view.value.smooth);

/** Each map's clip value, [row][column], in the present scope. */
export const clips = computed<number[][]>(() => (page.value ? clipsOf(page.value.page, scope.value) : []));

export function clipsOf(of: Page, shared: Scope): number[][] {
  const { clip } = view.value;
  const own = of.header.rows.map((row) =>
    row.maps.map((map, m) => {
      if (map === null || map.error !== undefined) return null;
      return row.input.type === "text"
        ? wordQuantile(textRow(of, row, pieces.value), m, clipShare(clip))
        : clipValue(map.quantiles, clip);
    }),
  );
  return pageClips(own, shared);
}

/** What decides neither which examples come nor in what order. */
const LOOK = new Set<keyof View>([
  "pane",
  "tile",
  "clip",
  "pieces",
  "blanks",
  "smooth",
  "scope",
  "offset",
  "limit",
  "pivot",
  "method",
  "change",
  "example",
]);

/** Change the view; anything that changes which examples come goes back to their first page. */
export function change(patch: Partial<View>, push = false): void {
  const restart = Object.keys(patch).some((key) => !LOOK.has(key as keyof View));
  if ("pivot" in patch) solo.value = null;
  view.value = { ...view.value, ...(restart ? { offset: 0 } : {}), ...patch };
  setHostHash(writeView(hostHash(), view.value), push);
}

export function turnPage(by: number): void {
  goTo(view.value.offset + by * view.value.limit);
}

/** Show the page that begins with this rank, counted from 0. */
export function goTo(rank: number): void {
  const total = page.value?.page.header.total ?? 0;
  const offset = Math.max(0, Math.round(rank));
  if (offset !== view.value.offset && offset < Math.max(1, total)) change({ offset }, true);
}

/** Open the drawer at a row of the page. */
export function open(row: number): void {
  const found = page.value?.page.header.rows[row];
  if (found) change({ example: found.id }, view.value.example === null);
}

/** Add a term to the filter, once. */
export function narrow(term: string): void {
  const { filter } = view.value;
  if (!` ${filter} `.includes(` ${term} `)) change({ filter: `${filter} ${term}`.trim(), pane: "examples" }, true);
  else change({ pane: "examples" }, true);
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

/** Look for what is new, without moving what is being read. */
async function lookAgain(): Promise<void> {
  const found = await fetchStores().catch(() => null);
  if (!found) return;
  const same = (s: StoreInfo | BrokenStore): boolean => s.run === view.value.run && s.store === view.value.store;
  const [before, now] = [store.value, found.stores.find(same)];
  if (
    before &&
    before.error === undefined &&
    now &&
    now.error === undefined &&
    now.version !== before.version &&
    page.value
  ) {
    fresh.value = { stores: found, more: now.examples - before.examples };
  } else {
    batch(() => {
      stores.value = found;
      if (!store.value) view.value = withStore(view.value);
    });
  }
}

export function showFresh(): void {
  const found = fresh.value;
  if (!found) return;
  kept.clear();
  batch(() => {
    stores.value = found.stores;
    fresh.value = null;
  });
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
  if (untracked(() => page.value?.page === of || opened.value?.page === of)) return;
  pictures.get(of)?.forEach((url) => URL.revokeObjectURL(url));
  pictures.delete(of);
}

/** A map's exact values, by its place on a page. */
export function exactMap(of: Page, row: number, column: number, map: StoredMap): Promise<ExactMap> {
  const { header } = of;
  const { key, method } = header.columns[column]!;
  const run = header.pivot === "runs" ? key : view.value.run;
  return fetchExact(view.value, header.version, {
    run,
    id: header.rows[row]!.id,
    method: method.id,
    step: map.step,
    target: map.target,
  });
}

function failure(error: unknown): Failure {
  if (error instanceof RequestFailed) return { sentence: error.message, route: error.route, status: error.status };
  return { sentence: String(error), route: "page", status: null };
}

const tilePixels = (v: View, kind: string): number | null =>
  kind === "image" ? Math.min(1024, Math.round(v.tile * Math.min(2, Math.max(1, window.devicePixelRatio)))) : null;

/** After the frame that shows what has changed until now; in a hidden tab, which has no frames, soon. */
const drawn = (): Promise<void> =>
  new Promise((done) => {
    const late = setTimeout(done, 500);
    requestAnimationFrame(() => (clearTimeout(late), setTimeout(done)));
  });

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
    if (found.header.version !== untracked(() => (store.value as StoreInfo | null)?.version)) void lookAgain();
    await drawn(); // what comes next must not hold back what is there
    if (wish === url && found.header.offset + found.header.rows.length < found.header.total)
      ask(next).catch(() => undefined);
  } catch (error) {
    if (wish === url) pageFailure.value = failure(error);
  } finally {
    clearTimeout(late);
    if (wish === url) loading.value = false;
  }
}

let summarised = "";

const SUMMARIES = ["faithfulness", "gap", "agreement", "global"] as const;

async function summarise(v: View, version: string): Promise<void> {
  const asked = JSON.stringify([v.run, v.store, version, v.filter, v.step, v.target]);
  if (asked === summarised && !untracked(() => summaryFailure.value)) return;
  summarised = asked;
  summaries.value = {};
  summaryFailure.value = null;
  for (const kind of SUMMARIES) {
    try {
      const found = await fetchSummary(v, version, kind);
      if (asked !== summarised) return;
      summaries.value = { ...summaries.value, [kind]: found };
    } catch (error) {
      if (asked === summarised) summaryFailure.value = failure(error);
      return;
    }
  }
}

let facetAbort: AbortController | null = null;

async function distribute(url: string): Promise<void> {
  facetAbort?.abort();
  const abort = (facetAbort = new AbortController());
  try {
    await kept.get(wish)?.page; // first things first
    await drawn();
    if (!abort.signal.aborted) facet.value = await fetchFacet(url, abort.signal);
  } catch {
    if (!abort.signal.aborted) facet.value = null; // the page says what is wrong
  }
}

/** The example of the drawer: on the present page, or fetched alone. */
async function reveal(v: View, version: string, of: Page | null): Promise<void> {
  const id = v.example;
  openedFailure.value = null;
  const row = of && id !== null ? of.header.rows.findIndex((r) => r.id === id) : -1;
  if (id === null || row >= 0) {
    opened.value = id === null ? null : { page: of!, row };
    return;
  }
  const quoted = `id:"${id.replace(/["\\]/g, "\\$&")}"`;
  const size = tilePixels(v, (store.value as StoreInfo).kind);
  try {
    const found = await ask(pageUrl({ ...v, filter: quoted, sort: "id", offset: 0, limit: 24 }, version, size));
    if (view.value.example !== id) return;
    const at = found.header.rows.findIndex((r) => r.id === id);
    if (at >= 0) opened.value = { page: found, row: at };
    else
      openedFailure.value = {
        sentence: `No example “${id}” has maps for this selection.`,
        route: "api/tiles",
        status: null,
      };
  } catch (error) {
    if (view.value.example === id) openedFailure.value = failure(error);
  }
}

/** Whether a view is sorted by a field that has a number. */
const numeric = (v: View): boolean => v.sort !== "errors" && v.sort !== "id";

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
  onDataReloaded(() => void lookAgain());
  effect(() => {
    void [view.value.run, view.value.store];
    fresh.value = null; // of another store
  });
  const readable = (): StoreInfo | null => (store.value && store.value.error === undefined ? store.value : null);
  const wanted = computed(() => {
    const [v, s] = [view.value, readable()];
    if (!s || v.pane !== "examples") return null;
    const size = tilePixels(v, s.kind);
    return JSON.stringify([
      pageUrl(v, s.version, size),
      pageUrl({ ...v, offset: v.offset + v.limit }, s.version, size),
    ]);
  });
  effect(() => {
    void retries.value;
    if (wanted.value === null) return;
    const [url, next] = JSON.parse(wanted.value) as [string, string];
    untracked(() => void show(url, next));
  });
  const histogram = computed(() => {
    const [v, s] = [view.value, readable()];
    return s && v.pane === "examples" && numeric(v) ? facetUrl(v, s.version) : null;
  });
  effect(() => {
    const url = histogram.value;
    if (url === null) facet.value = null;
    else untracked(() => void distribute(url));
  });
  effect(() => {
    void retries.value;
    const [v, s, of] = [view.value, readable(), page.value?.page ?? null];
    if (s) untracked(() => void reveal(v, s.version, of));
  });
  effect(() => {
    void retries.value;
    const [v, s] = [view.value, readable()];
    if (s && v.pane === "summary") untracked(() => void summarise(v, s.version));
  });
}
