// The page's state in the address: `p.deepexplain.*` keys among whatever else TensorBoard keeps in its hash.
import { CLIPS, SCOPES, type Clip, type Scope } from "./quantiles";

const PREFIX = "p.deepexplain.";

export const SORTS = ["errors", "id", "score", "gap", "probability"] as const;
export type Sort = (typeof SORTS)[number];
export const PAGE_SIZES = [24, 48, 96] as const;
export const TILE_SIZES = [64, 112, 224] as const;

export const PANES = ["examples", "summary"] as const;
export type Pane = (typeof PANES)[number];

export interface View {
  pane: Pane;
  run: string;
  store: string;
  step: number | null;
  /** null: the predicted class where it was explained, else whatever was. */
  target: string | null;
  sort: Sort;
  descending: boolean;
  misclassified: boolean;
  offset: number;
  limit: number;
  tile: number;
  clip: Clip;
  scope: Scope;
}

export const DEFAULTS: View = {
  pane: "examples",
  run: "",
  store: "",
  step: null,
  target: null,
  sort: "errors",
  descending: true,
  misclassified: false,
  offset: 0,
  limit: 24,
  tile: 112,
  clip: "p99",
  scope: "map",
};

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
  const step = given.get("step") ?? "";
  const target = given.get("target") ?? "";
  return {
    pane: among("view", PANES, DEFAULTS.pane),
    run: given.get("run") ?? DEFAULTS.run,
    store: given.get("store") ?? DEFAULTS.store,
    step: /^-?\d{1,15}$/.test(step) ? Number(step) : null,
    target: /^(predicted|label|sum|\d{1,9})$/.test(target) ? target : null,
    sort: among("sort", SORTS, DEFAULTS.sort),
    descending: given.get("desc") !== "0",
    misclassified: given.get("only") === "misclassified",
    offset: whole("at", DEFAULTS.offset),
    limit: among("n", PAGE_SIZES, DEFAULTS.limit),
    tile: among("size", TILE_SIZES, DEFAULTS.tile),
    clip: among("clip", CLIPS, DEFAULTS.clip),
    scope: among("scope", SCOPES, DEFAULTS.scope),
  };
}

/** `hash` with our keys replaced by those of `view`; defaults are left out, everything else stays as it is. */
export function writeView(hash: string, view: View): string {
  const entries: [string, string | null][] = [
    ["view", view.pane === DEFAULTS.pane ? null : view.pane],
    ["run", view.run || null],
    ["store", view.store || null],
    ["step", view.step === null ? null : String(view.step)],
    ["target", view.target],
    ["sort", view.sort === DEFAULTS.sort ? null : view.sort],
    ["desc", view.descending ? null : "0"],
    ["only", view.misclassified ? "misclassified" : null],
    ["at", view.offset ? String(view.offset) : null],
    ["n", view.limit === DEFAULTS.limit ? null : String(view.limit)],
    ["size", view.tile === DEFAULTS.tile ? null : String(view.tile)],
    ["clip", view.clip === DEFAULTS.clip ? null : view.clip],
    ["scope", view.scope === DEFAULTS.scope ? null : view.scope],
  ];
  const others = hash.replace(/^#/, "").split("&").filter((part) => part && !part.startsWith(PREFIX));
  const ours = entries.filter(([, value]) => value !== null).map(([key, value]) => `${PREFIX}${key}=${encodeURIComponent(value!)}`);
  const joined = [...others, ...ours].join("&");
  return joined ? `#${joined}` : "";
}

function pairs(hash: string): [string, string][] {
  return hash.replace(/^#/, "").split("&").flatMap((part): [string, string][] => {
    const cut = part.indexOf("=");
    if (cut < 0) return [];
    try {
      return [[part.slice(0, cut), decodeURIComponent(part.slice(cut + 1))]];
    } catch {
      return [];
    }
  });
}
