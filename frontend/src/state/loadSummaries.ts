// Loads the answers of the Summary's panels, one after the other.
import { effect, untracked } from "@preact/signals";
import { fetchSummary } from "../api/requests";
import type { Summaries } from "../api/types";
import type { View } from "./address";
import { failureOf, retries } from "./failure";
import { summaries, summaryFailure } from "./loaded";
import { storeInfo } from "./stores";
import { view } from "./view";

/** The panels of the Summary, in the order in which they are loaded and shown. */
export const PANELS = Object.keys({
  faithfulness: true,
  gap: true,
  agreement: true,
  global: true,
} satisfies Record<keyof Summaries, true>) as (keyof Summaries)[];

/** What the loaded summaries are of. */
let loadedKey = "";

async function loadSummaries(v: View, version: string): Promise<void> {
  const key = JSON.stringify([v.run, v.store, version, v.filter, v.step, v.target]);
  if (key === loadedKey && !untracked(() => summaryFailure.value)) return;
  loadedKey = key;
  summaries.value = {};
  summaryFailure.value = null;
  for (const name of PANELS) {
    try {
      const summary = await fetchSummary(v, version, name);
      if (key !== loadedKey) return;
      summaries.value = { ...summaries.value, [name]: summary };
    } catch (error) {
      if (key === loadedKey) summaryFailure.value = failureOf(error);
      return;
    }
  }
}

export function followSummaries(): void {
  effect(() => {
    void retries.value;
    const v = view.value;
    const info = storeInfo.value;
    if (info && v.pane === "summary") untracked(() => void loadSummaries(v, info.version));
  });
}
