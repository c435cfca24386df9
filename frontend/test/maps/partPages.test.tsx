// Mixed examples as one page for each input.
import { describe, expect, it } from "vitest";
import type { MixedInput, MixedMap } from "../../src/api/types";
import { Shares } from "../../src/drawer/Shares";
import { MixedCells } from "../../src/grid/MixedCells";
import { contribution, hasPictures, partPages } from "../../src/maps/partPages";
import { floatPage, method, pictureMap, row, show, tabularInput, textInput, texts, valuesMap } from "../render";

const number = (name: string, value: number | null, text: string | null = null) => ({
  name,
  input: tabularInput({
    inputs: [{ name, shape: [], axes: [] }],
    values: [value],
    texts: text === null ? null : [text],
  }),
});
const input: MixedInput = {
  modality: "mixed",
  parts: [
    number("age", 38),
    {
      name: "photo",
      input: { modality: "image", media_type: "image/png", full: [2, 2], data: { offset: 0, length: 4 } },
    },
    { name: "review", input: textInput("good", "food", "") },
    number("city", null, "Bern"),
  ],
};
const codes = pictureMap();
const { shape, full } = codes;
const blobs = { age: 0, review: 8, city: 24 };
const floats = new Map([
  [blobs.age, [-3]],
  [blobs.review, [1, -2, 0]],
  [blobs.city, [4]],
]);
const part = (name: keyof typeof blobs, length: number, share: number) => ({
  name,
  sum: floats.get(blobs[name])!.reduce((a, b) => a + b),
  share,
  map: { ...valuesMap(length), values: { offset: blobs[name], length: 4 * length } },
});
const { shape: _s, full: _f, codes: _c, ...facts } = codes;
const map: MixedMap = {
  ...facts,
  parts: [
    part("age", 1, 0.3),
    { name: "photo", sum: 0, share: 0, map: { ...codes, shape, full } },
    part("review", 3, 0.3),
    part("city", 1, 0.4),
  ],
};
const whole = floatPage({
  modality: "mixed",
  columns: [{ key: "a", title: "A", method: method() }],
  rows: [row({ input, maps: [map] }), row({ id: "8", input: { error: "damaged" }, maps: [null] })],
});
const page = { ...whole, floats: (blob: { offset: number }) => new Float32Array(floats.get(blob.offset) ?? []) };

describe("parts", () => {
  const parts = partPages(page);
  it("are one page for each input, and one for all features", () => {
    expect(parts.map(({ header, part: of }) => [of!.name, header.modality])).toEqual([
      ["features", "tabular"],
      ["photo", "image"],
      ["review", "text"],
    ]);
    expect(partPages(page)).toBe(parts);
    expect(partPages(parts[1]!)).toEqual([parts[1]]);
    expect(hasPictures(page.header)).toBe(true);
  });
  it("hold the values of their inputs", () => {
    const features = parts[0]!.header.rows[0]!;
    expect(features.input).toMatchObject({ values: [38, null], texts: [null, "Bern"] });
    const joined = features.maps[0] as ReturnType<typeof valuesMap>;
    expect([...parts[0]!.floats(joined.values)]).toEqual([-3, 4]);
    expect(joined).toMatchObject({ length: 2, quantiles: [3.5, 3.9, 3.95, 3.99, 4].map((v) => expect.closeTo(v, 5)) });
    expect([...parts[2]!.floats((parts[2]!.header.rows[0]!.maps[0] as typeof joined).values)]).toEqual([1, -2, 0]);
    expect(parts[1]!.header.rows[1]).toMatchObject({ input: { error: "damaged" }, maps: [null] });
  });
  it("have shares that add up", () => {
    expect(contribution(map, ["age", "city"])).toEqual({ sum: 1, share: 0.7 });
    const [age, ...others] = map.parts;
    const unexplained = { ...map, parts: [{ ...age!, sum: null, share: null }, ...others] };
    expect(contribution(unexplained, [age!.name])).toEqual({ sum: null, share: null });
    expect(contribution(unexplained, ["age", "city"])).toEqual(
      contribution(
        unexplained,
        ["age", "city"].filter((name) => name !== age!.name),
      ),
    );
    expect(contribution(map, ["sound"])).toEqual({ sum: null, share: null });
    expect(contribution(null, ["age"])).toEqual({ sum: null, share: null });
  });
});

it("cells show a map for each input, with its share and the raw values", () => {
  const within = show(<MixedCells page={page} row={page.header.rows[0]!} index={0} />);
  expect(texts(within.querySelectorAll("section > .MixedCells_name"))).toEqual([
    expect.stringMatching(/^features70/),
    expect.stringMatching(/^photo0/),
    expect.stringMatching(/^review30/),
  ]);
  expect(texts(within.querySelectorAll(".TabularMap_name"))).toEqual(["city = Bern", "age = 38"]);
  expect(texts(within.querySelectorAll("[data-word]"))).toEqual(["good", "food"]);
  expect(within.querySelectorAll("canvas").length).toBe(1);
});

it("the drawer lists what each input contributes", () => {
  const within = show(<Shares row={page.header.rows[0]!} columns={page.header.columns} />);
  const lines = [...within.querySelectorAll("tbody tr")].map((line) => texts(line.children));
  expect(lines).toEqual([
    ["age", "−3.00 30.0\u202f%"],
    ["photo", "0 0\u202f%"],
    ["review", "−1.00 30.0\u202f%"],
    ["city", "4.00 40.0\u202f%"],
  ]);
});
