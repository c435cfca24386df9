// The stores of the log directory, the one that is shown, and newer versions of it.
import { batch, computed, effect, signal, untracked } from "@preact/signals";
import { fetchStores } from "../api/requests";
import type { StoreInfo, Stores, UnreadableStore } from "../api/types";
import type { View } from "./address";
import { type Failure, failureOf } from "./failure";
import { page } from "./loaded";
import { clearPages } from "./pageCache";
import { view } from "./view";

export const stores = signal<Stores | null>(null);
export const storesFailure = signal<Failure | null>(null);
/** A newer list of stores and the number of new examples; shown when the reader asks for it. */
export const newerStores = signal<{ stores: Stores; newExamples: number } | null>(null);

const isShown = (store: StoreInfo | UnreadableStore): boolean =>
  store.run === view.value.run && store.store === view.value.store;

export const store = computed<StoreInfo | UnreadableStore | null>(() => stores.value?.stores.find(isShown) ?? null);

/** The shown store if it can be read. */
export const storeInfo = computed<StoreInfo | null>(() =>
  store.value && store.value.error === undefined ? store.value : null,
);

/** A view without a store takes the first store of its run, or of the log directory. */
export function withStore(v: View): View {
  if (v.run && v.store) return v;
  const candidates = (stores.value?.stores ?? []).filter((s) => !v.run || s.run === v.run);
  const first = candidates.find((s) => s.error === undefined) ?? candidates[0];
  return first ? { ...v, run: first.run, store: first.store } : v;
}

function setStores(list: Stores): void {
  batch(() => {
    stores.value = list;
    storesFailure.value = null;
    if (!store.value) view.value = withStore(view.value);
  });
}

export async function loadStores(): Promise<void> {
  try {
    setStores(await fetchStores());
  } catch (error) {
    storesFailure.value = failureOf(error);
  }
}

/** Look for a newer version of the shown store; the page that is being read stays. */
export async function checkForNewVersion(): Promise<void> {
  const list = await fetchStores().catch(() => null);
  if (!list) return;
  const before = storeInfo.value;
  const now = list.stores.find(isShown);
  if (before && now && now.error === undefined && now.version !== before.version && page.value) {
    newerStores.value = { stores: list, newExamples: now.examples - before.examples };
  } else setStores(list);
}

export function showNewVersion(): void {
  const newer = newerStores.value;
  if (!newer) return;
  clearPages();
  batch(() => {
    stores.value = newer.stores;
    newerStores.value = null;
  });
}

export function followVersions(): void {
  effect(() => {
    void [view.value.run, view.value.store];
    newerStores.value = null; // it was about another store
  });
  effect(() => {
    const version = page.value?.page.header.version;
    if (version !== undefined && version !== untracked(() => storeInfo.value?.version)) void checkForNewVersion();
  });
}
