// How numbers are written.
import { describe, expect, it } from "vitest";
import { percent, plain, plusMinus, short, shortPercent, withSign } from "../../src/format/numbers";

describe("numbers", () => {
  it.each([
    [0, "0"],
    [0.0012345, "0.00123"],
    [12.345, "12.3"],
    [-0.5, "−0.500"],
    [99999, "99999"],
    [123456, "1.23e5"],
    [0.00001234, "1.23e−5"],
    [-0.00001234, "−1.23e−5"],
    [999.95, "1000"],
    [null, "–"],
    [NaN, "–"],
    [-Infinity, "−∞"],
  ])("%s is written %s", (value, text) => expect(short(value)).toBe(text));
  it("writes values of inputs as people do", () => {
    expect([31, -2, 0.25, 1912, 0.1 + 0.2, 7.123456, 0.00001, null].map(plain)).toEqual([
      "31",
      "−2",
      "0.25",
      "1912",
      "0.3",
      "7.1235",
      "1.00e−5",
      "–",
    ]);
  });
  it("gives a mean the decimals of its interval", () => {
    expect([
      plusMinus(0.8749, 0.0123),
      plusMinus(-0.00075, 0.0121),
      plusMinus(29.74, 10.6),
      plusMinus(1.7e-8, 8.3e-9),
      plusMinus(2, 0),
    ]).toEqual(["0.875 ± 0.012", "−0.001 ± 0.012", "30 ± 11", "1.70e−8 ± 8.3e−9", "2.00 ± 0"]);
  });
  it("shows signs and shares", () => {
    expect(withSign(0.25)).toBe("+0.2500");
    expect(withSign(-0.25)).toBe("−0.2500");
    expect(percent(0.0123)).toBe("1.2\u202f%");
    expect(percent(1)).toBe("100\u202f%");
    expect(percent(Infinity)).toBe("–");
  });
  it("writes errors of a precision as the command does", () => {
    const shares = [0, 3.6e-7, 2e-5, 0.047, 0.159, 0.996, 12.5, null];
    const texts = shares.map((share) => shortPercent(share).replace("\u202f", " "));
    expect(texts).toEqual(["0 %", "less than 0.001 %", "0.002 %", "4.7 %", "16 %", "100 %", "1,250 %", "–"]);
  });
});
