// The arithmetic of small line charts: scales, ticks, paths; and the colours that tell series apart.
import type { Theme } from "../maps/colour";

/** Round numbers, about `count` of them, from at most `low` to at least `high`. */
export function ticks(low: number, high: number, count = 4): number[] {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * ([1, 2, 2.5, 5, 10].find((s) => s * size >= rough * 0.999) ?? 10);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil((low + span) / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Ticks as text: all with as many decimals as the finest needs. */
export function tickTexts(marks: readonly number[]): string[] {
  const decimals = Math.max(
    0,
    ...marks.map((m) => (String(m).includes("e") ? 6 : (String(m).split(".")[1] ?? "").length)),
  );
  return marks.map((m) => (m === 0 ? "0" : m.toFixed(decimals).replace("-", "\u2212")));
}

/** What maps [low, high] to [from, to]. */
export function scale(low: number, high: number, from: number, to: number): (value: number) => number {
  const by = (to - from) / (high - low || 1);
  return (value) => from + (value - low) * by;
}

type Value = number | null;

/** An SVG path through the points that are known; a gap where one is not. */
export function line(
  xs: readonly Value[],
  ys: readonly Value[],
  x: (v: number) => number,
  y: (v: number) => number,
): string {
  let pen = "M";
  return xs
    .map((at, i) => {
      const value = ys[i] ?? null;
      if (at === null || value === null) {
        pen = "M";
        return "";
      }
      const drawn = `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return drawn;
    })
    .join("");
}

/** The area between two curves, over the points where both are known. */
export function band(
  xs: readonly Value[],
  low: readonly Value[],
  high: readonly Value[],
  x: (v: number) => number,
  y: (v: number) => number,
): string {
  const known = xs.flatMap((at, i) =>
    at !== null && low[i] != null && high[i] != null ? [[at, low[i]!, high[i]!] as const] : [],
  );
  if (known.length < 2) return "";
  const there = known.map(([at, l]) => `${x(at).toFixed(1)} ${y(l).toFixed(1)}`);
  const back = known.map(([at, , h]) => `${x(at).toFixed(1)} ${y(h).toFixed(1)}`).reverse();
  return `M${[...there, ...back].join("L")}Z`;
}

// Told apart by people who do not see all colours, and unlike the red and blue of maps (after Okabe and Ito).
const SERIES: Record<Theme, readonly string[]> = {
  light: ["#0072b2", "#d55e00", "#00875f", "#b3528f", "#8a6d00", "#3a3a3a", "#6a51a3", "#2a9fd6"],
  dark: ["#5ab4f0", "#ff9152", "#3ccfa0", "#f0a6cd", "#dfc04d", "#e8e8e8", "#b9a8ec", "#9fdcff"],
};
const DASHES = ["", "6 3", "2 2"];

/** How the series of this number is drawn: eight colours, then the same ones dashed. */
export function series(number: number, theme: Theme): { colour: string; dash: string } {
  const colours = SERIES[theme];
  return {
    colour: colours[number % colours.length]!,
    dash: DASHES[Math.floor(number / colours.length) % DASHES.length]!,
  };
}

/** The mean of curves, point by point, over those that know the point. */
export function meanCurve(curves: readonly (readonly Value[])[]): Value[] {
  const length = Math.max(0, ...curves.map((c) => c.length));
  return Array.from({ length }, (_, i) => {
    const known = curves.flatMap((c) => (c[i] == null ? [] : [c[i]!]));
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
  });
}
