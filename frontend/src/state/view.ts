// The view that is shown, mirrored in the address, and the ways to change it.
import { computed, signal } from "@preact/signals";
import { DEFAULT_VIEW, readView, type Scope, scopeOf, type View, writeView } from "./address";
import { hostHash, setHostHash } from "./host";
import { solo } from "./interaction";

export const view = signal<View>(DEFAULT_VIEW);

export const scope = computed<Scope>(() => scopeOf(view.value));
// Components that read one of these are not drawn again when another field of the view changes.
export const tile = computed(() => view.value.tile);
export const example = computed(() => view.value.example);
export const pieces = computed(() => view.value.pieces);
export const blanks = computed(() => view.value.blanks);
export const smooth = computed(() => view.value.smooth);

/** Fields that change neither which examples are listed nor their order. */
const KEEPS_OFFSET = new Set<string>([
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
] satisfies (keyof View)[]);

/** Change the view; a change of the listed examples returns to their first page. `push` adds a history entry. */
export function change(patch: Partial<View>, push = false): void {
  const restart = Object.keys(patch).some((field) => !KEEPS_OFFSET.has(field));
  if ("pivot" in patch) solo.value = null;
  view.value = { ...view.value, ...(restart ? { offset: 0 } : {}), ...patch };
  setHostHash(writeView(hostHash(), view.value), push);
}

/** The view that the address describes now. */
export const viewOfAddress = (): View => readView(hostHash());

/** Add a term to the filter unless it is there, and list its examples. */
export function addFilterTerm(term: string): void {
  const { filter } = view.value;
  const present = ` ${filter} `.includes(` ${term} `);
  change({ pane: "examples", ...(present ? {} : { filter: `${filter} ${term}`.trim() }) }, true);
}

export const closeDrawer = (): void => change({ example: null }, true);
