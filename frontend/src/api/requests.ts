// Talks to the server: every address is relative, so that proxies and path prefixes do not matter.

import type { View } from "../state/address";
import { decodePage, type Page } from "./pageOfMaps";
import type { ExampleFacts, Facet, Stores, Summaries } from "./types";

export class RequestFailed extends Error {
  constructor(
    message: string,
    readonly route: string,
    readonly status: number | null,
  ) {
    super(message);
  }
}

async function get(url: string, signal?: AbortSignal): Promise<Response> {
  const route = url.split("?")[0]!;
  let response: Response;
  try {
    response = await fetch(url, signal ? { signal } : {});
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestFailed("TensorBoard does not answer. Is it still running?", route, null);
  }
  if (response.ok) return response;
  const text = response.headers.get("content-type")?.startsWith("text/plain") ? await response.text() : "";
  throw new RequestFailed(
    text.replace(/^deepexplain: /, "").slice(0, 600) || "The server failed to answer.",
    route,
    response.status,
  );
}

export async function fetchStores(): Promise<Stores> {
  return (await get("api/stores")).json() as Promise<Stores>;
}

/** The address of a page of examples; equal addresses are equal answers. */
export function pageUrl(view: View, version: string, size: number | null): string {
  const query = new URLSearchParams({ run: view.run, store: view.store, v: version });
  query.set("sort", view.sort);
  query.set("desc", view.descending ? "1" : "0");
  query.set("offset", String(view.offset));
  query.set("limit", String(view.limit));
  if (view.filter) query.set("filter", view.filter);
  if (size !== null) query.set("size", String(size));
  if (view.pivot !== "methods") {
    query.set("pivot", view.pivot);
    if (view.method !== null) query.set("methods", view.method);
    if (view.change && view.pivot !== "targets") query.set("change", "1");
  }
  return `api/tiles?${withSelection(query, view)}`;
}

/** The address of all examples of a view as a file. */
export function exportUrl(view: View, version: string): string {
  const query = new URLSearchParams({
    run: view.run,
    store: view.store,
    v: version,
    sort: view.sort,
    desc: view.descending ? "1" : "0",
    format: "csv",
  });
  if (view.filter) query.set("filter", view.filter);
  return `api/export?${withSelection(query, view)}`;
}

/** The address of the histogram of the field that a view is sorted by. */
export function facetUrl(view: View, version: string): string {
  const query = new URLSearchParams({
    run: view.run,
    store: view.store,
    v: version,
    sort: view.sort,
    desc: view.descending ? "1" : "0",
  });
  if (view.filter) query.set("filter", view.filter);
  return `api/facet?${withSelection(query, view)}`;
}

export async function fetchFacet(url: string, signal: AbortSignal): Promise<Facet> {
  return (await get(url, signal)).json() as Promise<Facet>;
}

export async function fetchExample(view: View, version: string, id: string): Promise<ExampleFacts> {
  const query = new URLSearchParams({ run: view.run, store: view.store, v: version, id });
  return (await get(`api/example?${withSelection(query, view)}`)).json() as Promise<ExampleFacts>;
}

function withSelection(query: URLSearchParams, view: View): URLSearchParams {
  if (view.step !== null) query.set("step", String(view.step));
  if (view.target !== null) query.set("target", view.target);
  return query;
}

/** What the maps of a store say together; of those of the view's filter, step and target, but for faithfulness. */
export async function fetchSummary<K extends keyof Summaries>(
  view: View,
  version: string,
  kind: K,
): Promise<Summaries[K]> {
  const query = new URLSearchParams({ run: view.run, store: view.store, v: version, kind });
  if (view.filter) query.set("filter", view.filter);
  return (await get(`api/summary?${withSelection(query, view)}`)).json() as Promise<Summaries[K]>;
}

export async function fetchPage(url: string, signal: AbortSignal): Promise<Page> {
  const buffer = await (await get(url, signal)).arrayBuffer();
  try {
    return decodePage(buffer);
  } catch (error) {
    throw new RequestFailed(`The answer could not be read: ${(error as Error).message}.`, "api/tiles", 200);
  }
}

export interface ExactMap {
  values: Float32Array<ArrayBuffer>;
  /** |values| of finite values, ascending: for percentiles. */
  sorted: Float32Array;
}

const exact = new Map<string, Promise<ExactMap>>();
const EXACT_KEPT = 32;

export interface MapName {
  run: string;
  id: string;
  method: string;
  step: number | null;
  target: number | null;
}

/** One map's float32 values at full size, channels already made one number. `version` is that of the view's own run. */
export function fetchExact(view: View, version: string, map: MapName): Promise<ExactMap> {
  const query = new URLSearchParams({ run: map.run, store: view.store, id: map.id, method: map.method, flat: "1" });
  if (map.run === view.run) query.set("v", version);
  if (map.step !== null) query.set("step", String(map.step));
  query.set("target", map.target === null ? "sum" : String(map.target));
  const url = `api/tile?${query}`;
  let found = exact.get(url);
  if (!found) {
    found = get(url).then(async (response) => {
      const values = new Float32Array(await response.arrayBuffer());
      return { values, sorted: values.filter(Number.isFinite).map(Math.abs).sort() };
    });
    found.catch(() => exact.delete(url));
    exact.set(url, found);
    if (exact.size > EXACT_KEPT) exact.delete(exact.keys().next().value!);
  }
  return found;
}
