// The view, and how the address spells it: `p.deepexplain.*` keys among those that TensorBoard keeps in its hash.
import type { Pivot } from "../api/types";

export const PANES = ["examples", "summary"] as const;
export type Pane = (typeof PANES)[number];
export const PIVOTS: readonly Pivot[] = ["methods", "steps", "runs", "targets"];
export const PAGE_SIZES = [24, 48, 96] as const;
export const TILE_SIZES = [64, 112, 224] as const;
export const CLIPS = ["p90", "p95", "p99", "p100"] as const;
export type Clip = (typeof CLIPS)[number];
export const SCOPES = ["map", "row", "page"] as const;
export type Scope = (typeof SCOPES)[number];

/** One field of the view: its key in the address, its default, its text, and the value of a text if it is valid. */
interface Codec<T> {
  key: string;
  initial: T;
  encode: (value: T) => string;
  decode: (text: string) => T | undefined;
}

const choice = <T extends string | number>(key: string, options: readonly T[], initial: T): Codec<T> => ({
  key,
  initial,
  encode: String,
  decode: (text) => options.find((option) => String(option) === text),
});

const optionalChoice = <T extends string>(key: string, options: readonly T[]): Codec<T | null> => ({
  key,
  initial: null,
  encode: String,
  decode: (text) => options.find((option) => option === text),
});

const text = (key: string, initial = "", pattern = /^/): Codec<string> => ({
  key,
  initial,
  encode: String,
  decode: (text) => (pattern.test(text) ? text : undefined),
});

const optionalText = (key: string, pattern: RegExp): Codec<string | null> => ({
  key,
  initial: null,
  encode: String,
  decode: (text) => (pattern.test(text) ? text : undefined),
});

const flag = (key: string, initial = false): Codec<boolean> => ({
  key,
  initial,
  encode: (value) => (value ? "1" : "0"),
  decode: (text) => (text === "1" ? true : text === "0" ? false : undefined),
});

const wholeNumber = <T extends number | null>(key: string, initial: T, pattern: RegExp): Codec<T | number> => ({
  key,
  initial,
  encode: String,
  decode: (text) => (pattern.test(text) ? Number(text) : undefined),
});

/** Every field of the view, once. */
const CODECS = {
  pane: choice("view", PANES, "examples"),
  run: text("run"),
  store: text("store"),
  /** Training step; null: the latest. */
  step: wholeNumber("step", null, /^-?\d{1,15}$/),
  /** null: the predicted class where it was explained, else the class that was. */
  target: optionalText("target", /^(predicted|label|sum|\d{1,9})$/),
  /** What the columns are; one value is fixed for each of the other three. */
  pivot: choice("columns", PIVOTS, "methods"),
  /** The method shown where the columns are not methods; null: the first. */
  method: optionalText("method", /^[a-z][a-z0-9_]*$/),
  /** Whether a last column shows the last map minus the first. */
  change: flag("change"),
  filter: text("filter"),
  /** `errors`, `id`, a numeric field such as `integrated_gradients.gap`, or a slice feature. */
  sort: text("sort", "errors", /^[^,"\\]{1,200}$/),
  descending: flag("desc", true),
  offset: wholeNumber("at", 0, /^\d{1,15}$/),
  limit: choice<number>("n", PAGE_SIZES, 24),
  /** The id of the example in the drawer. */
  example: optionalText("example", /./s),
  tile: choice<number>("size", TILE_SIZES, 112),
  clip: choice("clip", CLIPS, "p99"),
  /** Whether texts are shown by the tokenizer's pieces instead of whole words. */
  pieces: flag("pieces"),
  /** Whether spaces and line breaks of texts are marked. */
  blanks: flag("blanks"),
  /** Whether maps of pictures are interpolated between pixels. */
  smooth: flag("smooth"),
  /** Which maps share one colour scale; null: depends on the pivot. */
  scope: optionalChoice("scope", SCOPES),
};

type Codecs = typeof CODECS;
export type View = { [Field in keyof Codecs]: Codecs[Field] extends Codec<infer T> ? T : never };

const FIELDS = Object.entries(CODECS) as [keyof View, Codec<unknown>][];

export const DEFAULT_VIEW = Object.fromEntries(FIELDS.map(([field, codec]) => [field, codec.initial])) as View;

/** Maps of one method have one unit and share the scale of their row; maps of different methods do not. */
export const scopeOf = (view: View): Scope => view.scope ?? (view.pivot === "methods" ? "map" : "row");

const PREFIX = "p.deepexplain.";

/** The view that a hash describes; a missing or invalid field takes its default. */
export function readView(hash: string): View {
  const texts = ownKeys(hash);
  // Links from before there was a filter.
  if (texts.get("only") === "misclassified" && !texts.has("filter")) texts.set("filter", "is:error");
  const decode = (codec: Codec<unknown>): unknown => codec.decode(texts.get(codec.key) ?? "");
  const entries = FIELDS.map(([field, codec]) => [
    field,
    texts.has(codec.key) ? (decode(codec) ?? codec.initial) : codec.initial,
  ]);
  return Object.fromEntries(entries) as View;
}

/** `hash` with the page's keys replaced by those of `view`; defaults are omitted, other keys stay as they are. */
export function writeView(hash: string, view: View): string {
  const others = parts(hash).filter((part) => part && !part.startsWith(PREFIX));
  const changed = FIELDS.filter(([field, codec]) => view[field] !== codec.initial);
  const entries = changed.map(
    ([field, codec]) => `${PREFIX}${codec.key}=${encodeURIComponent(codec.encode(view[field]))}`,
  );
  const joined = [...others, ...entries].join("&");
  return joined ? `#${joined}` : "";
}

const parts = (hash: string): string[] => hash.replace(/^#/, "").split("&");

function ownKeys(hash: string): Map<string, string> {
  const texts = new Map<string, string>();
  for (const part of parts(hash)) {
    const equals = part.indexOf("=");
    if (equals < 0 || !part.startsWith(PREFIX)) continue;
    try {
      texts.set(part.slice(PREFIX.length, equals), decodeURIComponent(part.slice(equals + 1)));
    } catch {
      // not a valid escape: as if the key were missing
    }
  }
  return texts;
}
