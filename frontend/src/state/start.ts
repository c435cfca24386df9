// Starts to follow the address and to load what it asks for.

import { retries } from "./failure";
import { onDataReloaded, onHostHash } from "./host";
import { followExample } from "./loadExample";
import { followPages } from "./loadPages";
import { followSummaries } from "./loadSummaries";
import { clearPages } from "./pageCache";
import { checkForNewVersion, followVersions, loadStores, storesFailure, withStore } from "./stores";
import { view, viewOfAddress } from "./view";

export function startState(): void {
  view.value = viewOfAddress();
  onHostHash(() => {
    const read = viewOfAddress();
    const shown = view.value;
    // TensorBoard's other tabs have hashes without our keys: keep the shown store.
    const next = withStore(read.run ? read : { ...read, run: shown.run, store: shown.store });
    if (JSON.stringify(next) !== JSON.stringify(shown)) view.value = next;
  });
  void loadStores();
  onDataReloaded(() => void checkForNewVersion());
  followVersions();
  followPages();
  followExample();
  followSummaries();
}

export function retry(): void {
  if (storesFailure.value) void loadStores();
  clearPages();
  retries.value += 1;
}
