// Loads the example that the drawer shows, and exact values of maps.
import { effect, untracked } from "@preact/signals";
import type { Page } from "../api/pageOfMaps";
import { type ExactMap, exactMapFrom, fetchExactMap, pageUrl } from "../api/requests";
import type { StoredMap, StoreInfo } from "../api/types";
import type { View } from "./address";
import { failureOf, retries } from "./failure";
import { opened, openedFailure, page } from "./loaded";
import { mapSize } from "./loadPages";
import { cachedPage } from "./pageCache";
import { storeInfo } from "./stores";
import { change, view } from "./view";

/** Open the drawer at a row of the page. */
export function openRow(row: number): void {
  const example = page.value?.page.header.rows[row];
  if (example) change({ example: example.id }, view.value.example === null);
}

/** The exact values of the map in a cell of a page. */
export async function exactMap(of: Page, row: number, column: number, map: StoredMap): Promise<ExactMap> {
  const inputs = of.part?.inputs ?? [null];
  const maps = await Promise.all(inputs.map((input) => exactMapOf(of, row, column, map, input)));
  return maps.length === 1 ? maps[0]! : exactMapFrom(maps.flatMap(({ values }) => [...values]));
}

function exactMapOf(of: Page, row: number, column: number, map: StoredMap, input: string | null): Promise<ExactMap> {
  const { header } = of;
  const { key, method } = header.columns[column]!;
  return fetchExactMap(view.value, header.version, {
    run: header.pivot === "runs" ? key : view.value.run,
    id: header.rows[row]!.id,
    method: method.id,
    step: map.step,
    target: map.target,
    input,
  });
}

/** Show the view's example in the drawer: from the shown page, or fetched alone. */
async function loadExample(v: View, info: StoreInfo, shown: Page | null): Promise<void> {
  const id = v.example;
  openedFailure.value = null;
  if (id === null) {
    opened.value = null;
    return;
  }
  const row = shown?.header.rows.findIndex((r) => r.id === id) ?? -1;
  if (shown && row >= 0) {
    opened.value = { page: shown, row };
    return;
  }
  const isCurrent = (): boolean => view.value.example === id;
  const filter = `id:"${id.replace(/["\\]/g, "\\$&")}"`;
  const alone = { ...v, filter, sort: "id", offset: 0, limit: 24 };
  try {
    const loaded = await cachedPage(pageUrl(alone, info.version, mapSize(v, info.modality)));
    if (!isCurrent()) return;
    const at = loaded.header.rows.findIndex((r) => r.id === id);
    if (at >= 0) opened.value = { page: loaded, row: at };
    else {
      const sentence = `No example “${id}” has maps for this selection.`;
      openedFailure.value = { sentence, route: "api/tiles", status: null };
    }
  } catch (error) {
    if (isCurrent()) openedFailure.value = failureOf(error);
  }
}

export function followExample(): void {
  effect(() => {
    void retries.value;
    const v = view.value;
    const info = storeInfo.value;
    const shown = page.value?.page ?? null;
    if (info) untracked(() => void loadExample(v, info, shown));
  });
}
