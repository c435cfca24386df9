// Requests to the server. Every address is relative, so that proxies and path prefixes do not matter.
import { decodePage, type Page } from "./pageOfMaps";
import type { ExampleFacts, Facet, Pivot, Stores, Summaries } from "./types";

/** Which examples and maps a request is about. */
export interface Selection {
  run: string;
  store: string;
  step: number | null;
  target: string | null;
  filter: string;
  sort: string;
  descending: boolean;
  offset: number;
  limit: number;
  pivot: Pivot;
  method: string | null;
  change: boolean;
}

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
  const sentence = text.replace(/^deepexplain: /, "").slice(0, 600);
  throw new RequestFailed(sentence || "The server failed to answer.", route, response.status);
}

/** The parameters of every request about a store, with those in `more`. */
function parameters(selection: Selection, version: string, more: Record<string, string> = {}): URLSearchParams {
  const { run, store, step, target } = selection;
  const query = new URLSearchParams({ run, store, v: version, ...more });
  if (step !== null) query.set("step", String(step));
  if (target !== null) query.set("target", target);
  return query;
}

function order({ sort, descending, filter }: Selection): Record<string, string> {
  return { sort, desc: descending ? "1" : "0", ...(filter ? { filter } : {}) };
}

export async function fetchStores(): Promise<Stores> {
  return (await get("api/stores")).json() as Promise<Stores>;
}

/** The address of a page of examples; equal addresses have equal answers. `size`: the longest side of a map, in pixels. */
export function pageUrl(selection: Selection, version: string, size: number | null): string {
  const { offset, limit, pivot, method, change } = selection;
  const query = parameters(selection, version, { ...order(selection), offset: String(offset), limit: String(limit) });
  if (size !== null) query.set("size", String(size));
  if (pivot !== "methods") {
    query.set("pivot", pivot);
    if (method !== null) query.set("methods", method);
    if (change && pivot !== "targets") query.set("change", "1");
  }
  return `api/tiles?${query}`;
}

export async function fetchPage(url: string, signal: AbortSignal): Promise<Page> {
  const buffer = await (await get(url, signal)).arrayBuffer();
  try {
    return decodePage(buffer);
  } catch (error) {
    throw new RequestFailed(`The answer could not be read: ${(error as Error).message}.`, "api/tiles", 200);
  }
}

/** The address of the CSV file of all examples of a selection. */
export const exportUrl = (selection: Selection, version: string): string =>
  `api/export?${parameters(selection, version, { ...order(selection), format: "csv" })}`;

/** The address of the histogram of the field that a selection is sorted by. */
export const facetUrl = (selection: Selection, version: string): string =>
  `api/facet?${parameters(selection, version, order(selection))}`;

export async function fetchFacet(url: string, signal: AbortSignal): Promise<Facet> {
  return (await get(url, signal)).json() as Promise<Facet>;
}

export async function fetchExample(selection: Selection, version: string, id: string): Promise<ExampleFacts> {
  return (await get(`api/example?${parameters(selection, version, { id })}`)).json() as Promise<ExampleFacts>;
}

/** One panel of the Summary, over the examples of the filter; faithfulness is of the whole store. */
export async function fetchSummary<K extends keyof Summaries>(
  selection: Selection,
  version: string,
  panel: K,
): Promise<Summaries[K]> {
  const more = { panel, ...(selection.filter ? { filter: selection.filter } : {}) };
  return (await get(`api/summary?${parameters(selection, version, more)}`)).json() as Promise<Summaries[K]>;
}

/** A map's float32 values at full size, channels reduced to one number. */
export interface ExactMap {
  values: Float32Array<ArrayBuffer>;
  /** |values|, finite ones only, ascending: for percentiles. */
  sorted: Float32Array;
}

export function exactMapFrom(numbers: ArrayBuffer | readonly number[]): ExactMap {
  const values = new Float32Array(numbers as ArrayBuffer);
  return { values, sorted: values.filter(Number.isFinite).map(Math.abs).sort() };
}

export interface MapName {
  run: string;
  id: string;
  method: string;
  step: number | null;
  target: number | null;
  /** The input whose part of the map is meant, of a mixed example. */
  input: string | null;
}

const exactMaps = new Map<string, Promise<ExactMap>>();
const EXACT_CAPACITY = 32;

/** `version` is of the store in the selection's run. */
export function fetchExactMap(selection: Selection, version: string, map: MapName): Promise<ExactMap> {
  const { run, id, method, step, target, input } = map;
  const query = new URLSearchParams({ run, store: selection.store, id, method, flat: "1" });
  if (run === selection.run) query.set("v", version);
  if (step !== null) query.set("step", String(step));
  if (input !== null) query.set("input", input);
  query.set("target", target === null ? "sum" : String(target));
  const url = `api/tile?${query}`;
  const cached = exactMaps.get(url);
  if (cached) return cached;
  const request = get(url).then(async (response) => {
    return exactMapFrom(await response.arrayBuffer());
  });
  request.catch(() => exactMaps.delete(url));
  exactMaps.set(url, request);
  if (exactMaps.size > EXACT_CAPACITY) exactMaps.delete(exactMaps.keys().next().value!);
  return request;
}
