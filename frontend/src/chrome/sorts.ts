// The fields that examples can be sorted by, and their titles.
import type { Method, StoreInfo } from "../api/types";
import type { Option, OptionGroup } from "./Fields";

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

/** Fields of examples, in the order of the list. */
const EXAMPLE_FIELDS = ["score", "probability", "margin", "loss", "gap", "disagreement", "change"];

/** The title of a field such as `integrated_gradients.gap`: "gap of Integrated gradients". */
export function sortTitle(field: string, store: StoreInfo): string {
  if (TITLES[field]) return TITLES[field];
  if (store.slices.some((slice) => slice.field === field)) return field;
  const [name, methodId] = field.split(".").reverse() as [string, string?];
  const title = store.measures.find(({ id }) => id === name)?.title ?? name;
  const method = store.methods.find(({ id }) => id === methodId)?.title;
  return method ? `${title} of ${method}` : title;
}

interface SortOptions {
  fields: Option<string>[];
  /** A group for each number that every method has. */
  groups: OptionGroup<string>[];
}

/** `known`: the fields that have a number in this store; `areJudged`: whether its examples are correct or misclassified. */
export function sortOptions(store: StoreInfo, known: readonly string[], areJudged: boolean): SortOptions {
  const fields = ["errors", "id", ...EXAMPLE_FIELDS.filter((field) => known.includes(field))];
  const ofMethods = (name: string, methods: readonly Method[]): Option<string>[] =>
    methods.map(({ id, title }) => [`${id}.${name}`, title]);
  const groups: OptionGroup<string>[] = [];
  const complete = store.methods.filter(({ sums_to }) => sums_to !== null);
  if (complete.length > 1) groups.push(["gap of", ofMethods("gap", complete)]);
  if (known.includes("concentration")) groups.push(["concentration of", ofMethods("concentration", store.methods)]);
  for (const { id, title } of store.measures)
    if (known.includes(id)) groups.push([`${title} of`, ofMethods(id, store.methods)]);
  if (store.slices.length > 0) groups.push(["slice feature", store.slices.map(({ field }) => [field, field])]);
  const title = (field: string): string => (field === "errors" && !areJudged ? "relative gap" : TITLES[field]!);
  return { fields: fields.map((field) => [field, title(field)]), groups };
}

/** Whether an order begins with the largest: ids and texts begin with the smallest. */
export const beginsWithLargest = (field: string, store: StoreInfo): boolean =>
  field !== "id" && !store.slices.some((slice) => slice.field === field && slice.type === "text");
