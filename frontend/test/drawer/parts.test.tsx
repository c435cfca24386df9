// The sections of the drawer.
import { describe, expect, it } from "vitest";
import type { ExactMap } from "../../src/api/requests";
import type { Column, ExampleFacts, Input, PictureInput } from "../../src/api/types";
import { Baselines } from "../../src/drawer/Baselines";
import { Measures } from "../../src/drawer/Measures";
import { Sums } from "../../src/drawer/Sums";
import { TopFeatures } from "../../src/drawer/TopFeatures";
import { button, method, perform, row, show, tabularInput, textInput, texts, valuesMap } from "../render";

const column = (id: string, title: string, signed = true): Column => ({
  key: id,
  title,
  method: method({ id, title, signed }),
});
const picture: PictureInput = {
  modality: "image",
  media_type: "image/png",
  full: [8, 8],
  data: { offset: 0, length: 0 },
};
const columns = [column("a", "A"), column("b", "B"), column("c", "C", false)];

const exact = (...values: number[]): ExactMap => ({
  values: new Float32Array(values),
  sorted: new Float32Array(values).map(Math.abs).sort(),
});

const facts = (patch: Partial<ExampleFacts> = {}): ExampleFacts => ({
  id: "7",
  version: "v1",
  curves: {},
  maps: [],
  name: "attributions",
  modality: "image",
  options: {},
  versions: {},
  measures: [],
  methods: [],
  model: null,
  created: null,
  ...patch,
});

const cells = (within: HTMLElement, selector: string): string[][] =>
  [...within.querySelectorAll(selector)].map((line) => texts(line.children));

describe("sums", () => {
  it("add up, and leave out unsigned maps", () => {
    const maps = [
      valuesMap(2, { gap: 0.5, relative_gap: 0.25 }),
      valuesMap(2, { gap: null, relative_gap: null }),
      valuesMap(2),
    ];
    const within = show(<Sums columns={columns} maps={maps} exactMaps={[[exact(1, 1.5), null, exact(1, 2)]]} />);
    expect(cells(within, "thead tr")[0]).toEqual(["", "f(x)", "− f(baseline)", "= Σ attributions", "− gap", "share"]);
    expect(cells(within, "tbody tr")).toEqual([
      ["A", "3.000", "1.000", "2.500", "0.500", "25.0\u202f%"],
      ["B", "3.000", "1.000", "–", "no promise", "–"],
    ]);
  });
  it("leave out what the method cannot explain", () => {
    const within = show(
      <Sums columns={columns} maps={[valuesMap(3), valuesMap(2)]} exactMaps={[[exact(1, NaN, 2), exact(NaN, NaN)]]} />,
    );
    expect(cells(within, "tbody tr").map((line) => line[3])).toEqual(["3.000", "–"]);
  });
  it("are of all inputs of an example", () => {
    const maps = [valuesMap(2), valuesMap(2), valuesMap(2)];
    const ofInputs = [
      [exact(1, 1.5), exact(1), null],
      [exact(2), null, null],
    ];
    const within = show(<Sums columns={columns} maps={maps} exactMaps={ofInputs} />);
    expect(cells(within, "tbody tr").map((line) => line[3])).toEqual(["4.500", "–"]);
  });
});

describe("baselines", () => {
  const of = (
    id: string,
    baseline: NonNullable<ExampleFacts["methods"][number]["baseline"]> | null,
    baseline_picture?: string,
  ): ExampleFacts["methods"][number] => ({
    ...columns[0]!.method,
    id,
    title: id.toUpperCase(),
    baseline,
    ...(baseline_picture ? { baseline_picture } : {}),
  });
  it("are shown once each, with their methods", () => {
    const methods = [
      of("a", 0),
      of("b", null),
      of("c", "array", "iVBOR"),
      of("hidden", 5),
      { ...columns[0]!.method, id: "d", title: "D", parameters: {} },
    ];
    const within = show(<Baselines facts={facts({ methods })} columns={columns} input={picture} />);
    expect(texts(within.querySelectorAll("figcaption"))).toEqual([
      "0 everywhere, as the model takes it A, B",
      "an array, as the model takes it C",
    ]);
    expect(within.querySelector("h3")!.textContent).toBe("Baselines");
    expect(within.querySelector("img")!.getAttribute("src")).toBe("data:image/png;base64,iVBOR");
  });
  const table = tabularInput({
    inputs: [
      { name: "city", shape: [1], axes: ["feature"] },
      { name: "age", shape: [1], axes: ["feature"] },
      { name: "sizes", shape: [2], axes: ["feature"] },
    ],
    values: [null, 30, 1, 2],
    texts: ["Rome", null, null, null],
  });
  const shown = (baseline: Parameters<typeof of>[1], input: Input): string[] =>
    texts(
      show(
        <Baselines facts={facts({ methods: [of("a", baseline)] })} columns={columns} input={input} />,
      ).querySelectorAll("figcaption"),
    );
  it("are those of each column", () => {
    expect(shown(28, table)).toEqual(['"" in city; 28 in age, sizes A']);
    expect(shown({ city: ["Rome"], age: [3.5], sizes: [0, 1] }, table)).toEqual([
      '"Rome" in city; 3.5 in age; [0,1] in sizes A',
    ]);
    expect(shown(["Bern", 2, 2], table)).toEqual(['"Bern" in city; 2 in age, sizes A']);
    const long = { ...table, values: [null, 16777216, 1, 2], texts: ["Rome", "16777217", null, null] }; // still a number
    expect(shown(28, long)).toEqual(['"" in city; 28 in age, sizes A']);
  });
  it("are those of each input of an example with several", () => {
    const parts = [
      { name: "photo", input: picture },
      { name: "review", input: textInput("good") },
      { name: "city", input: tabularInput({ inputs: [table.inputs[0]!], values: [null], texts: ["Rome"] }) },
    ];
    const input: Input = { modality: "mixed", parts };
    expect(shown(null, input)).toEqual(['0 in photo; embeddings of zeros in review; "" in city A']);
    expect(shown({ photo: "array [8, 8, 3] 6c1f", review: null, city: ["Bern"] }, input)).toEqual([
      'an array of 8 × 8 × 3 in photo; embeddings of zeros in review; "Bern" in city A',
    ]);
  });
  it("of texts are embeddings", () => {
    const within = show(
      <Baselines facts={facts({ methods: [of("a", 0)] })} columns={columns} input={textInput("a")} />,
    );
    expect(within.textContent).toContain("embeddings of zeros in place of all tokens");
    expect(within.querySelector("h3")!.textContent).toBe("Baseline");
  });
  it("are left out if there are none", () => {
    expect(show(<Baselines facts={facts()} columns={columns} input={picture} />).textContent).toBe("");
  });
});

describe("strongest features", () => {
  it("are of the chosen column, without padding", () => {
    const input = textInput("good", "bad", "");
    const exactMaps = [exact(1, -3, 9), exact(2, 0.5, 0)];
    const within = show(
      <TopFeatures row={row({ input, maps: [valuesMap(3), valuesMap(3)] })} columns={columns} exactMaps={exactMaps} />,
    );
    expect(within.querySelector("h3")!.textContent).toBe("Strongest tokens");
    expect(cells(within, "tbody tr")).toEqual([
      ["bad", "−3.000", "+0.5000", "23.1\u202f%"],
      ["good", "+1.000", "+2.000", "7.7\u202f%"],
    ]);
    perform(() => button(within, "B").click());
    expect(cells(within, "tbody tr").map((line) => line[0])).toEqual(["good", "bad"]);
    expect(within.querySelector("[aria-sort=descending]")!.textContent).toBe("B ↓");
    perform(() => button(within, "A").click());
  });
  it("show the values of inputs, or their texts", () => {
    const inputs = [
      { name: "x", shape: [2], axes: ["feature"] },
      { name: "job", shape: [], axes: [] },
    ];
    const input = tabularInput({ inputs, values: [1, 2, null], texts: [null, null, "cook"] });
    const within = show(
      <TopFeatures row={row({ input, maps: [valuesMap(3)] })} columns={columns} exactMaps={[exact(1, 2, 3)]} />,
    );
    expect(cells(within, "tbody tr").map((line) => line.slice(0, 2))).toEqual([
      ["job", "cook"],
      ["x[1]", "2"],
      ["x[0]", "1"],
    ]);
  });
});

describe("measures", () => {
  const deletion = {
    id: "deletion",
    title: "Deletion",
    better: "lower" as const,
    axis: "share removed",
    parameters: {},
  };
  it("are drawn with the chance level", () => {
    const curve = { at: [0, 0.5, 1], curve: [1, 0.5, 0], random_curve: [1, 0.8, 0] };
    const within = show(
      <Measures facts={facts({ measures: [deletion], curves: { a: { deletion: curve } } })} columns={columns} id="7" />,
    );
    expect(within.querySelectorAll("path[stroke]")).toHaveLength(2);
    expect(within.querySelectorAll("path[stroke-dasharray='3 3']")).toHaveLength(1);
  });
  it("are missed aloud", () => {
    const text = (of: ExampleFacts): string => show(<Measures facts={of} columns={columns} id="7" />).textContent!;
    expect(text(facts({ measures: [deletion] }))).toBe("This example was not among those measured.");
    expect(text(facts())).toContain("No measure of this map was taken");
  });
});
