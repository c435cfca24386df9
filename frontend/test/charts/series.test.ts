// The looks of curves.
import { expect, it } from "vitest";
import { series } from "../../src/charts/series";

it("tells twenty series apart in either theme", () => {
  for (const theme of ["light", "dark"] as const) {
    const looks = Array.from({ length: 20 }, (_, i) => JSON.stringify(series(i, theme)));
    expect(new Set(looks).size).toBe(20);
  }
});
