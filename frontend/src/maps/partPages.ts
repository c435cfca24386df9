// Mixed examples: a page for each of their inputs, which the components for pictures, texts and features can draw.
import type { Page } from "../api/pageOfMaps";
import type { BlobRange, Input, MixedMap, PageHeader, Row, StoredMap, TabularInput, Values } from "../api/types";
import { quantileOfAbs } from "./quantiles";

const cache = new WeakMap<Page, Page[]>();

/** A page for each input of a mixed page, in their order, with all tabular ones as one; the page itself if it is not mixed. */
export function partPages(page: Page): Page[] {
  if (page.header.modality !== "mixed") return [page];
  let parts = cache.get(page);
  if (!parts) {
    parts = groupInputs(page.header.rows).map((inputs) => partPage(page, inputs));
    cache.set(page, parts);
  }
  return parts;
}

/** Whether a page shows pictures. */
export const hasPictures = (header: PageHeader): boolean => shows(header, "image");

/** Whether a page shows texts. */
export const hasTexts = (header: PageHeader): boolean => shows(header, "text");

const shows = ({ modality, rows }: PageHeader, shown: "image" | "text"): boolean =>
  modality === shown ||
  rows.some(({ input }) => input.modality === "mixed" && input.parts.some((part) => part.input.modality === shown));

/** The sum of these inputs in a mixed map, and their share of the sum of absolute values, without those that the method cannot
 * explain; null where none is known. */
export function contribution(
  map: StoredMap | null | undefined,
  inputs: readonly string[],
): { sum: number | null; share: number | null } {
  const parts = isMixed(map) ? map.parts.filter(({ name }) => inputs.includes(name)) : [];
  const add = (values: (number | null)[]): number | null => {
    const known = values.filter((v) => v !== null);
    return known.length === 0 ? null : known.reduce((sum, v) => sum + v, 0);
  };
  return { sum: add(parts.map(({ sum }) => sum)), share: add(parts.map(({ share }) => share)) };
}

const isMixed = (map: StoredMap | null | undefined): map is MixedMap =>
  !!map && map.error === undefined && "parts" in map;

/** The names of the inputs of all rows: each alone, but the tabular ones together. */
function groupInputs(rows: readonly Row[]): string[][] {
  const groups: string[][] = [];
  const known = new Set<string>();
  let table: string[] | null = null;
  for (const { input } of rows)
    for (const { name, input: part } of input.modality === "mixed" ? input.parts : []) {
      if (known.has(name)) continue;
      known.add(name);
      if (part.modality === "tabular" && table) table.push(name);
      else groups.push([name]);
      if (part.modality === "tabular") table ??= groups.at(-1)!;
    }
  return groups;
}

function partPage(whole: Page, inputs: string[]): Page {
  const joined = new Map<BlobRange, Float32Array<ArrayBuffer>>();
  const rows = whole.header.rows.map((row) => ({
    ...row,
    input: partOfInput(row.input, inputs),
    maps: row.maps.map((map) => partOfMap(whole, map, inputs, joined)),
  }));
  const modality = rows.find(({ input }) => input.error === undefined)?.input.modality ?? "tabular";
  const columns = whole.header.columns.map((column) =>
    modality === "image" ? column : { ...column, method: { ...column.method, reduction: null } },
  );
  return {
    ...whole,
    header: { ...whole.header, modality, columns, rows },
    floats: (blob) => joined.get(blob) ?? whole.floats(blob),
    part: { name: inputs.length > 1 ? "features" : inputs[0]!, inputs, whole },
  };
}

function partOfInput(input: Input, inputs: readonly string[]): Input {
  if (input.modality !== "mixed") return input;
  const parts = input.parts.filter(({ name }) => inputs.includes(name)).map((part) => part.input);
  if (parts.length === 0) return { error: `this example has no input ${inputs.join(", ")}` };
  return inputs.length === 1 ? parts[0]! : joinTables(parts as TabularInput[]);
}

function joinTables(tables: readonly TabularInput[]): TabularInput {
  return {
    modality: "tabular",
    inputs: tables.flatMap((table) => table.inputs),
    features: tables.every(({ features }) => features) ? tables.flatMap(({ features }) => features!) : null,
    values: tables.flatMap(({ values }) => values),
    texts: tables.flatMap(({ texts, values }) => texts ?? values.map(() => null)),
  };
}

function partOfMap(
  whole: Page,
  map: StoredMap | null,
  inputs: readonly string[],
  joined: Map<BlobRange, Float32Array<ArrayBuffer>>,
): StoredMap | null {
  if (!isMixed(map)) return map;
  const { parts, ...facts } = map;
  const ofInputs = parts.filter(({ name }) => inputs.includes(name)).map((part) => part.map);
  if (ofInputs.length === 0) return null;
  if (inputs.length === 1) return { ...facts, ...ofInputs[0]! };
  const values = new Float32Array((ofInputs as Values[]).flatMap((one) => [...whole.floats(one.values)]));
  const blob = { offset: 0, length: 4 * values.length };
  joined.set(blob, values);
  const quantiles = [0.5, 0.9, 0.95, 0.99, 1].map((q) => quantileOfAbs([...values], q)) as Values["quantiles"];
  return {
    ...facts,
    zero: ofInputs.every(({ zero }) => zero),
    not_finite: ofInputs.reduce((sum, one) => sum + one.not_finite, 0),
    scale: Math.max(...ofInputs.map(({ scale }) => scale)),
    quantiles,
    length: values.length,
    values: blob,
  };
}
