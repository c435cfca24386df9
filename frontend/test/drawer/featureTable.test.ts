// The exact values of an example as a table.
import { describe, expect, it } from "vitest";
import type { ExactMap } from "../../src/api/requests";
import type { Column, Input } from "../../src/api/types";
import { featureTable } from "../../src/drawer/featureTable";
import type { ShownPart } from "../../src/drawer/shownPart";
import { floatPage, method, row, tabularInput, textInput, valuesMap } from "../render";

const columns: Column[] = ["A", "B"].map((title) => ({ key: title, title, method: method({ title }) }));

function part(name: string | null, input: Input, exactMaps: (number[] | null)[]): ShownPart {
  const maps = exactMaps.map((values) => valuesMap(values?.length ?? 0));
  const page = floatPage({ modality: input.modality ?? "tabular", columns });
  return {
    page: name === null ? page : { ...page, part: { name, inputs: [name], whole: page } },
    index: 0,
    row: row({ input, maps }),
    exactMaps: exactMaps.map((values): ExactMap | null =>
      values ? { values: new Float32Array(values), sorted: new Float32Array() } : null,
    ),
    clips: [],
  };
}

describe("the table of features", () => {
  const table = tabularInput({ inputs: [{ name: "age", shape: [1], axes: ["feature"] }], values: [30] });
  it("has a line for each token", () => {
    const { heads, lines } = featureTable([
      part(null, textInput("not", "bad"), [
        [1, 2],
        [3, 4],
      ]),
    ]);
    expect(heads).toEqual(["token", "A", "B"]);
    expect(lines).toEqual([
      ["not", 1, 3],
      ["bad", 2, 4],
    ]);
  });
  it("keeps the columns of maps of which a part could not be loaded", () => {
    const { heads, lines } = featureTable([
      part("review", textInput("bad"), [[1], [3]]),
      part("age", table, [null, [4]]),
    ]);
    expect(heads).toEqual(["input", "feature", "A", "B"]);
    expect(lines).toEqual([
      ["review", "bad", 1, 3],
      ["age", "age", null, 4],
    ]);
  });
});
