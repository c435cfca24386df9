// The colour rules, against the fixture that the Python tests hold against NumPy.
import { describe, expect, it } from "vitest";
import { expand } from "../../src/api/pageOfMaps";
import {
  colourTable,
  contrast,
  DIVERGING,
  mapColour,
  NOT_FINITE_COLOUR,
  type Rgb,
  SEQUENTIAL,
  WORDS,
  wordColour,
} from "../../src/maps/colour";
import { quantileOfAbs } from "../../src/maps/quantiles";
import parity from "../parity.json";

const unpack = (pixel: number): number[] => [pixel & 255, (pixel >>> 8) & 255, (pixel >>> 16) & 255, pixel >>> 24];
const luminance = (c: Rgb): number => 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];

describe("parity with NumPy", () => {
  it("uses the same stops", () => {
    expect(DIVERGING).toEqual(parity.stops.signed);
    expect(SEQUENTIAL).toEqual(parity.stops.unsigned);
    expect(NOT_FINITE_COLOUR).toEqual(parity.not_finite);
  });
  it.each(parity.cases)("$name", ({ codes, scale, clip, signed, values, colours, original, quantile }) => {
    const finite = original.filter((v): v is number => v !== null);
    expect(quantileOfAbs(finite, quantile)).toBeCloseTo(clip, 5);
    const table = colourTable(scale, clip, signed);
    codes.forEach((code, i) => {
      const value = expand(code, scale);
      if (values[i] === null) expect(value).toBeNaN();
      else expect(value).toBeCloseTo(values[i]!, 6);
      const painted = unpack(table[code & 255]!);
      expect(painted[3]).toBe(255);
      colours[i]!.forEach((c, channel) => {
        expect(Math.abs(painted[channel]! - c)).toBeLessThanOrEqual(1);
      });
    });
  });
});

describe("maps", () => {
  it("paint zero neutral in both ramps at every clip", () => {
    for (const clip of [0, 1e-9, 3])
      for (const signed of [true, false]) expect(mapColour(0, clip, signed)).toEqual([247, 247, 247]);
  });
  it("swap hues when negated", () => {
    expect(mapColour(0.5, 1, true)[0]).toBeGreaterThan(mapColour(0.5, 1, true)[2]);
    expect(mapColour(-0.5, 1, true)[2]).toBeGreaterThan(mapColour(-0.5, 1, true)[0]);
    expect(mapColour(9, 1, true)).toEqual(DIVERGING.at(-1));
    expect(mapColour(-9, 1, true)).toEqual(DIVERGING[0]);
  });
  it("never use the colour of what is not finite for a value", () => {
    const table = colourTable(1, 1, true);
    const odd = table[128];
    expect([...table].filter((pixel) => pixel === odd)).toHaveLength(1);
  });
});

describe("words", () => {
  it("get lighter with magnitude on dark, darker on light", () => {
    for (const [theme, direction] of [
      ["light", -1],
      ["dark", 1],
    ] as const) {
      for (const ramp of [WORDS[theme].negative, WORDS[theme].positive, WORDS[theme].unsigned]) {
        const steps = ramp.slice(1).map((stop, i) => luminance(stop) - luminance(ramp[i]!));
        expect(steps.every((step) => step * direction > 0)).toBe(true);
      }
    }
  });
  it("stay readable at every strength", () => {
    for (const theme of ["light", "dark"] as const) {
      for (const signed of [true, false]) {
        for (let v = -100; v <= 100; v++) {
          const { back, fore } = wordColour(v / 100, 1, signed, theme);
          expect(contrast(back, fore)).toBeGreaterThanOrEqual(4.5);
        }
      }
    }
  });
  it("at zero stand on the paper itself", () => {
    expect(wordColour(0, 1, true, "dark").back).toEqual(WORDS.dark.paper);
    expect(wordColour(5, 0, true, "light").back).toEqual(WORDS.light.paper);
  });
});
