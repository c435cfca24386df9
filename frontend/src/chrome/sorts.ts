// What examples can be sorted by, and how it is called.

import type { Method, StoreInfo } from "../api/types";
import type { Option } from "./Fields";

const TITLES: Record<string, string> = {
  errors: "misclassified, then gap",
  id: "id",
  score: "score",
  probability: "probability",
  margin: "margin",
  loss: "loss",
  gap: "gap, the largest",
  change: "change of the score",
  disagreement: "disagreement of methods",
  concentration: "concentration",
};

/** A field as a person reads it: "gap of Integrated gradients". */
export function sortTitle(field: string, store: StoreInfo): string {
  if (TITLES[field]) return TITLES[field];
  const [name, method] = field.split(".").reverse() as [string, string?];
  const measure = store.measures.find((m) => m.id === name)?.title ?? name;
  const of = store.methods.find((m) => m.id === method)?.title;
  return of ? `${measure} of ${of}` : measure;
}

/** Plain ones first, then a group for each kind of number that methods have of their own. */
export function sortOptions(
  store: StoreInfo,
  fields: readonly string[],
): { plain: Option<string>[]; groups: [string, Option<string>[]][] } {
  const known = (name: string): boolean => fields.includes(name);
  const whole = ["score", "probability", "margin", "loss", "gap", "disagreement", "change"].filter(known);
  const plain = ["errors", "id", ...whole].map((f): Option<string> => [f, TITLES[f]!]);
  const each = (name: string, methods: readonly Method[]): Option<string>[] =>
    methods.map((m) => [`${m.id}.${name}`, m.title]);
  const groups: [string, Option<string>[]][] = [];
  const sums = store.methods.filter((m) => m.sums_to !== null);
  if (sums.length > 1) groups.push(["gap of", each("gap", sums)]);
  if (known("concentration")) groups.push(["concentration of", each("concentration", store.methods)]);
  for (const m of store.measures.filter((one) => known(one.id)))
    groups.push([`${m.title} of`, each(m.id, store.methods)]);
  return { plain, groups };
}
