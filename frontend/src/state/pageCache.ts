// The last pages, fetched once each, with the object URLs of their pictures.
import { untracked } from "@preact/signals";
import type { Page } from "../api/pageOfMaps";
import { fetchPage } from "../api/requests";
import { opened, page } from "./loaded";

const CAPACITY = 6;

interface Entry {
  page: Promise<Page>;
  abort: AbortController;
}

/** By address, the least recently used first. */
const entries = new Map<string, Entry>();
/** By whole page; then by input and row. */
const pictures = new Map<Page, Map<string, string>>();

/** The page at an address: from the cache, under way, or requested now. */
export function cachedPage(url: string): Promise<Page> {
  let entry = entries.get(url);
  if (!entry) {
    const abort = new AbortController();
    entry = { page: fetchPage(url, abort.signal), abort };
    entry.page.catch(() => entries.delete(url));
  }
  entries.delete(url);
  entries.set(url, entry);
  if (entries.size > CAPACITY) {
    const [oldest, dropped] = entries.entries().next().value!;
    entries.delete(oldest);
    dropped.abort.abort();
    dropped.page.then(revokePictures, () => undefined);
  }
  return entry.page;
}

/** Stop a request that is no longer needed; a page that has arrived stays. */
export const abortPage = (url: string): void => entries.get(url)?.abort.abort();

/** Resolves when the request for an address, if there is one, has ended. */
export async function pageArrived(url: string): Promise<void> {
  await entries.get(url)?.page;
}

export const clearPages = (): void => entries.clear();

/** The object URL of a row's input picture, made once while its page is cached; null if it has none. */
export function pictureUrl(of: Page, row: number): string | null {
  const whole = of.part?.whole ?? of;
  const key = `${row} ${of.part?.name ?? ""}`;
  const urls = pictures.get(whole) ?? new Map<string, string>();
  pictures.set(whole, urls);
  const known = urls.get(key);
  if (known) return known;
  const input = of.header.rows[row]!.input;
  if (input.modality !== "image") return null;
  const url = URL.createObjectURL(new Blob([of.bytes(input.data)], { type: input.media_type }));
  urls.set(key, url);
  return url;
}

function revokePictures(of: Page): void {
  if (untracked(() => page.value?.page === of || opened.value?.page === of)) return;
  pictures.get(of)?.forEach((url) => {
    URL.revokeObjectURL(url);
  });
  pictures.delete(of);
}
