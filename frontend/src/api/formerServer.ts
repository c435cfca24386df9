// Answers as the server sends them today, made into the shapes of types.ts; to be removed with the server's next version.
import type { Page } from "./pageOfMaps";
import type { InputPart, Modality, Stores, TabularInput } from "./types";

export function modernStores(stores: Stores): Stores {
  for (const store of stores.stores) if (!store.error) modality(store as unknown as Former);
  return stores;
}

export function modern(page: Page): Page {
  const { header } = page;
  if (header.rows === undefined) return page;
  modality(header as unknown as Former);
  for (const row of header.rows) {
    if (row.input.type === "tabular") row.input.inputs ??= partsOf(row.input);
    for (const map of row.maps) {
      if (map === null || map.relative_gap !== undefined) continue;
      const { gap, score, baseline_score } = map;
      if (gap === null || score === null || baseline_score === null) map.relative_gap = null;
      else map.relative_gap = gap === 0 ? 0 : Math.abs(gap / (score - baseline_score));
    }
  }
  return page;
}

interface Former {
  kind?: Modality;
  modality?: Modality;
}

function modality(answer: Former): void {
  if (answer.modality === undefined && answer.kind !== undefined) answer.modality = answer.kind;
}

const NAME = /^(.*?)\[(\d+(?:,\d+)*)\]$/;

/** The inputs behind the names `input`, `input[i]` and `input[i,j]`. */
function partsOf({ features }: TabularInput): InputPart[] {
  const parts: InputPart[] = [];
  for (const feature of features ?? []) {
    const match = NAME.exec(feature);
    const name = match ? match[1]! : feature;
    const indices = match ? match[2]!.split(",").map(Number) : [];
    const last = parts[parts.length - 1];
    if (last && last.name === name && last.shape.length === indices.length && indices.length > 0)
      last.shape = last.shape.map((size, axis) => Math.max(size, indices[axis]! + 1));
    else parts.push({ name, shape: indices.map((index) => index + 1), axes: [] });
  }
  const size = parts.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  // Names that do not number every element of an input are names of single columns.
  return size === (features ?? []).length ? parts : (features ?? []).map((name) => ({ name, shape: [], axes: [] }));
}
