// The inputs that the values of a tabular example belong to, and signals among them.
import { expect, it } from "vitest";
import type { TabularInput } from "../../src/api/types";
import { featureName, inputRanges, isSignal, signalOf, strongestStretch } from "../../src/maps/inputParts";

const part = (name: string, ...shape: number[]) => ({ name, shape, axes: [] });
const inputs = [part("age"), part("ecg", 30), part("fee", 2), part("dna", 25, 4), part("image", 30, 30, 3)];

it("finds where each input begins, and which are signals", () => {
  const ranges = inputRanges(inputs);
  expect(ranges.map(({ start, size }) => [start, size])).toEqual([
    [0, 1],
    [1, 30],
    [31, 2],
    [33, 100],
    [133, 2700],
  ]);
  expect(ranges.map(isSignal)).toEqual([false, true, false, true, false]);
});

it("names values by their column, or by input and position", () => {
  const numbered: TabularInput = { modality: "tabular", inputs, features: null, values: [], texts: null };
  expect([0, 1, 30, 32, 33, 38, 133, 137, 9999].map((i) => featureName(numbered, i))).toEqual([
    "age",
    "ecg[0]",
    "ecg[29]",
    "fee[1]",
    "dna[0,0]",
    "dna[1,1]",
    "image[0,0,0]",
    "image[0,1,1]",
    "9999",
  ]);
  expect(featureName({ ...numbered, features: ["a", "b"] }, 1)).toBe("b");
  expect(featureName({ ...numbered, inputs: [part("fare", 1)] }, 0)).toBe("fare");
});

it("sums channels, and reads one-hot codes of four as letters", () => {
  const range = { name: "dna", shape: [24, 4], start: 0, size: 96 };
  const codes = Array.from({ length: 96 }, (_, i) => (i % 4 === Math.floor(i / 4) % 4 ? 1 : 0));
  const values = Float32Array.from({ length: 96 }, (_, i) => (codes[i] ? 2 : 0.25));
  const signal = signalOf(range, values, codes);
  expect([...signal.attributions.slice(0, 2)]).toEqual([2.75, 2.75]);
  expect(signal.letters!.slice(0, 6)).toEqual([0, 1, 2, 3, 0, 1]);
  expect(
    signalOf(
      range,
      values,
      codes.map((v) => v + 0.5),
    ).letters,
  ).toBeNull();
  codes[0] = 0; // no letter at the first position
  expect(signalOf(range, values, codes).letters![0]).toBe(-1);
  codes[4] = 1; // two at the second
  expect(signalOf(range, values, codes).letters).toBeNull();
});

it("shows the stretch with the largest sum", () => {
  const attributions = new Float32Array(100);
  attributions[70] = -5;
  attributions[72] = 3;
  attributions[10] = 4;
  const [start, end] = strongestStretch(attributions, 10);
  expect(end - start).toBe(10);
  expect(start <= 70 && end > 72).toBe(true);
  expect(strongestStretch(attributions, 200)).toEqual([0, 100]);
});
