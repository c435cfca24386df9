// What the server sent and the page shows now.
import { signal } from "@preact/signals";
import type { Page } from "../api/pageOfMaps";
import type { Facet, Summaries } from "../api/types";
import type { Failure } from "./failure";

export const page = signal<{ url: string; page: Page } | null>(null);
export const pageFailure = signal<Failure | null>(null);
/** True when a page takes longer than a moment. */
export const loading = signal(false);
/** The histogram of the field that examples are sorted by. */
export const facet = signal<Facet | null>(null);

/** The example in the drawer: a row of the shown page, or of a page fetched for it alone. */
export const opened = signal<{ page: Page; row: number } | null>(null);
export const openedFailure = signal<Failure | null>(null);

export const summaries = signal<Partial<Summaries>>({});
export const summaryFailure = signal<Failure | null>(null);
