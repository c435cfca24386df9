// Talks to the server: every address is relative, so that proxies and path prefixes do not matter.
import { decodePage, type Page } from "./decode";
import type { View } from "./hash";
import type { Faithfulness, Stores } from "./types";

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
  throw new RequestFailed(text.replace(/^deepexplain: /, "").slice(0, 600) || "The server failed to answer.", route, response.status);
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
  if (view.misclassified) query.set("filter", "is:misclassified");
  if (size !== null) query.set("size", String(size));
  return `api/tiles?${withSelection(query, view)}`;
}

function withSelection(query: URLSearchParams, view: View): URLSearchParams {
  if (view.step !== null) query.set("step", String(view.step));
  if (view.target !== null) query.set("target", view.target);
  return query;
}

/** What a store's measures say of its methods. */
export async function fetchFaithfulness(view: View, version: string): Promise<Faithfulness> {
  const query = new URLSearchParams({ run: view.run, store: view.store, v: version, kind: "faithfulness" });
  return (await get(`api/summary?${query}`)).json() as Promise<Faithfulness>;
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
  values: Float32Array;
  /** |values| of finite values, ascending: for percentiles. */
  sorted: Float32Array;
}

const exact = new Map<string, Promise<ExactMap>>();
const EXACT_KEPT = 24;

/** One map's float32 values at full size, channels already made one number. */
export function fetchExact(view: View, version: string, id: string, method: string, target: number | null): Promise<ExactMap> {
  const query = new URLSearchParams({ run: view.run, store: view.store, v: version, id, method, flat: "1" });
  withSelection(query, view);
  query.set("target", target === null ? "sum" : String(target));
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
