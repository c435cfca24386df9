// Rows of numbers as the inputs they came from.
import { expect, it } from "vitest";
import { groups, isSignal, signalOf, strongest } from "../../src/maps/signals";

const named = (name: string, ...shape: number[]): string[] =>
  shape.length === 1
    ? Array.from({ length: shape[0]! }, (_, i) => `${name}[${i}]`)
    : Array.from({ length: shape[0]! * shape[1]! }, (_, i) => `${name}[${Math.floor(i / shape[1]!)},${i % shape[1]!}]`);

it("finds inputs, their shapes and where they begin", () => {
  const found = groups(["age", ...named("ecg", 30), "fee[0]", "fee[1]", ...named("dna", 25, 4), "a[b]"]);
  expect(found.map((g) => [g.name, g.shape, g.start, g.count])).toEqual([
    ["age", [], 0, 1],
    ["ecg", [30], 1, 30],
    ["fee", [2], 31, 2],
    ["dna", [25, 4], 33, 100],
    ["a[b]", [], 133, 1],
  ]);
  expect(found.map(isSignal)).toEqual([false, true, false, true, false]);
});

it("sums channels, and reads one-hot codes of four as letters", () => {
  const [g] = groups(named("dna", 24, 4));
  const inputs = Array.from({ length: 96 }, (_, i) => (i % 4 === Math.floor(i / 4) % 4 ? 1 : 0));
  const values = Float32Array.from({ length: 96 }, (_, i) => (inputs[i] ? 2 : 0.25));
  const found = signalOf(g!, values, inputs);
  expect([...found.credit.slice(0, 2)]).toEqual([2.75, 2.75]);
  expect(found.letters!.slice(0, 6)).toEqual([0, 1, 2, 3, 0, 1]);
  expect(
    signalOf(
      g!,
      values,
      inputs.map((v) => v + 0.5),
    ).letters,
  ).toBeNull();
  inputs[1] = 1; // two at once
  expect(signalOf(g!, values, inputs).letters).toBeNull();
});

it("shows the stretch that holds the most", () => {
  const credit = new Float32Array(100);
  credit[70] = -5;
  credit[72] = 3;
  credit[10] = 4;
  const [start, end] = strongest(credit, 10);
  expect(end - start).toBe(10);
  expect(start <= 70 && end > 72).toBe(true);
  expect(strongest(credit, 200)).toEqual([0, 100]);
});
