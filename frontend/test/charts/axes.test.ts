// Ticks, scales and paths of the small charts.
import { describe, expect, it } from "vitest";
import { band, line, meanCurve, scale, ticks, tickTexts } from "../../src/charts/axes";

describe("ticks", () => {
  it.each([
    [0, 1],
    [-0.3, 0.97],
    [0.2, 0.21],
    [3, 3],
    [0, 0],
    [-5000, 12],
    [1e-9, 4e-9],
  ])("cover %d to %d with round numbers", (low, high) => {
    const marks = ticks(low, high);
    expect(marks[0]!).toBeLessThanOrEqual(low + 1e-12);
    expect(marks[marks.length - 1]!).toBeGreaterThanOrEqual(high);
    expect(marks.length).toBeGreaterThan(1);
    expect(marks.length).toBeLessThan(8);
    const steps = marks.slice(1).map((m, i) => m - marks[i]!);
    for (const step of steps) expect(step).toBeCloseTo(steps[0]!, 10);
  });
  it("are written with the same decimals, and zero as zero", () => {
    expect(tickTexts([-0.5, 0, 0.5, 1])).toEqual(["\u22120.5", "0", "0.5", "1.0"]);
    expect(tickTexts([0, 5000])).toEqual(["0", "5000"]);
  });
});

describe("paths", () => {
  const [x, y] = [scale(0, 1, 0, 100), scale(0, 1, 100, 0)];
  it("break where a point is not known", () => {
    expect(line([0, 0.5, 0.75, 1], [0, null, 1, 0.5], x, y)).toBe("M0.0 100.0M75.0 0.0L100.0 50.0");
  });
  it("enclose the interval", () => {
    expect(band([0, 1], [0, 0], [1, 0.5], x, y)).toBe("M0.0 100.0L100.0 100.0L100.0 50.0L0.0 0.0Z");
    expect(band([0, 1], [0, null], [1, null], x, y)).toBe("");
  });
});

it("averages curves over what each knows", () => {
  expect(
    meanCurve([
      [1, null, 3],
      [3, null, null],
    ]),
  ).toEqual([2, null, 3]);
  expect(meanCurve([])).toEqual([]);
});
