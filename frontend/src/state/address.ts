// The page's state in the address: `p.deepexplain.*` keys among whatever else TensorBoard keeps in its hash.
import { CLIPS, type Clip, SCOPES, type Scope } from "../maps/clips";

const PREFIX = "p.deepexplain.";

export const PANES = ["examples", "summary"] as const;
export type Pane = (typeof PANES)[number];
export const PIVOTS = ["methods", "steps", "runs", "targets"] as const;
export type Pivot = (typeof PIVOTS)[number];
export const PAGE_SIZES = [24, 48, 96] as const;
export const TILE_SIZES = [64, 112, 224] as const;

export interface View {
  pane: Pane;
  run: string;
  store: string;
  step: number | null;
  /** null: the predicted class where it was explained, else whatever was. */
  target: string | null;
  /** What the columns are; of the others one is chosen each. */
  pivot: Pivot;
  /** The one method shown where columns are something else; null: the first. */
  method: string | null;
  /** A column of the last map less the first. */
  change: boolean;
  filter: string;
  /** errors, id, or a field with a number, such as integrated_gradients.gap */
  sort: string;
  descending: boolean;
  offset: number;
  limit: number;
  /** The id of the example in the drawer. */
  example: string | null;
  tile: number;
  clip: Clip;
  /** Texts by the pieces of the tokenizer, not by whole words. */
  pieces: boolean;
  /** Blanks and line breaks of texts as marks. */
  blanks: boolean;
  /** Pictures' maps interpolated between their pixels; else each pixel is a square. */
  smooth: boolean;
  /** null: each map, or each row where its maps are of one kind. */
  scope: Scope | null;
}

export const DEFAULTS: View = {
  pane: "examples",
  run: "",
  store: "",
  step: null,
  target: null,
  pivot: "methods",
  method: null,
  change: false,
  filter: "",
  sort: "errors",
  descending: true,
  offset: 0,
  limit: 24,
  example: null,
  tile: 112,
  clip: "p99",
  pieces: false,
  blanks: false,
  smooth: false,
  scope: null,
};

/** Whose values share one scale: maps of different methods have different units, those of one method have not. */
export const scopeOf = (view: View): Scope => view.scope ?? (view.pivot === "methods" ? "map" : "row");

/** The view that a hash describes; what it lacks or says badly takes its default. */
export function readView(hash: string): View {
  const given = new Map<string, string>();
  for (const [key, value] of pairs(hash)) if (key.startsWith(PREFIX)) given.set(key.slice(PREFIX.length), value);
  const whole = (name: string, fallback: number): number => {
    const text = given.get(name) ?? "";
    return /^\d{1,15}$/.test(text) ? Number(text) : fallback;
  };
  const among = <T>(name: string, allowed: readonly T[], fallback: T): T =>
    allowed.find((one) => String(one) === given.get(name)) ?? fallback;
  const matching = (name: string, form: RegExp): string | null => {
    const text = given.get(name) ?? "";
    return form.test(text) ? text : null;
  };
  const step = matching("step", /^-?\d{1,15}$/);
  return {
    pane: among("view", PANES, DEFAULTS.pane),
    run: given.get("run") ?? DEFAULTS.run,
    store: given.get("store") ?? DEFAULTS.store,
    step: step === null ? null : Number(step),
    target: matching("target", /^(predicted|label|sum|\d{1,9})$/),
    pivot: among("columns", PIVOTS, DEFAULTS.pivot),
    method: matching("method", /^[a-z][a-z0-9_]*$/),
    change: given.get("change") === "1",
    filter: given.get("filter") ?? (given.get("only") === "misclassified" ? "is:error" : DEFAULTS.filter),
    sort: matching("sort", /^([a-z][a-z0-9_]*\.)?[a-z][a-z0-9_]*$/) ?? DEFAULTS.sort,
    descending: given.get("desc") !== "0",
    offset: whole("at", DEFAULTS.offset),
    limit: among("n", PAGE_SIZES, DEFAULTS.limit),
    example: given.get("example") || null,
    tile: among("size", TILE_SIZES, DEFAULTS.tile),
    clip: among("clip", CLIPS, DEFAULTS.clip),
    pieces: given.get("pieces") === "1",
    blanks: given.get("blanks") === "1",
    smooth: given.get("smooth") === "1",
    scope: among<Scope | null>("scope", SCOPES, null),
  };
}

/** `hash` with our keys replaced by those of `view`; defaults are left out, everything else stays as it is. */
export function writeView(hash: string, view: View): string {
  const unless = <T>(value: T, fallback: T): string | null => (value === fallback ? null : String(value));
  const entries: [string, string | null][] = [
    ["view", unless(view.pane, DEFAULTS.pane)],
    ["run", view.run || null],
    ["store", view.store || null],
    ["step", view.step === null ? null : String(view.step)],
    ["target", view.target],
    ["columns", unless(view.pivot, DEFAULTS.pivot)],
    ["method", view.method],
    ["change", view.change ? "1" : null],
    ["filter", view.filter || null],
    ["sort", unless(view.sort, DEFAULTS.sort)],
    ["desc", view.descending ? null : "0"],
    ["at", unless(view.offset, DEFAULTS.offset)],
    ["n", unless(view.limit, DEFAULTS.limit)],
    ["example", view.example],
    ["size", unless(view.tile, DEFAULTS.tile)],
    ["clip", unless(view.clip, DEFAULTS.clip)],
    ["pieces", view.pieces ? "1" : null],
    ["blanks", view.blanks ? "1" : null],
    ["smooth", view.smooth ? "1" : null],
    ["scope", view.scope],
  ];
  const others = hash
    .replace(/^#/, "")
    .split("&")
    .filter((part) => part && !part.startsWith(PREFIX));
  const ours = entries
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${PREFIX}${key}=${encodeURIComponent(value!)}`);
  const joined = [...others, ...ours].join("&");
  return joined ? `#${joined}` : "";
}

function pairs(hash: string): [string, string][] {
  return hash
    .replace(/^#/, "")
    .split("&")
    .flatMap((part): [string, string][] => {
      const cut = part.indexOf("=");
      if (cut < 0) return [];
      try {
        return [[part.slice(0, cut), decodeURIComponent(part.slice(cut + 1))]];
      } catch {
        return [];
      }
    });
}
