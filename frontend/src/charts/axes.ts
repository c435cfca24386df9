// Scales, ticks and paths of small line charts.
import { MINUS } from "../format/numbers";

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

/** Ticks as text, all with as many decimals as the finest one needs. */
export function tickTexts(marks: readonly number[]): string[] {
  const decimals = Math.max(
    0,
    ...marks.map((m) => (String(m).includes("e") ? 6 : (String(m).split(".")[1] ?? "").length)),
  );
  return marks.map((m) => (m === 0 ? "0" : m.toFixed(decimals).replace("-", MINUS)));
}

/** The linear function from [low, high] to [from, to]. */
export function scale(low: number, high: number, from: number, to: number): Scale {
  const by = (to - from) / (high - low || 1);
  return (value) => from + (value - low) * by;
}

type Value = number | null;
/** From a value to its position in pixels. */
type Scale = (value: number) => number;

/** An SVG path through the known points, with a gap at each unknown one. */
export function line(xs: readonly Value[], ys: readonly Value[], x: Scale, y: Scale): string {
  let pen = "M";
  return xs
    .map((at, i) => {
      const value = ys[i] ?? null;
      if (at === null || value === null) {
        pen = "M";
        return "";
      }
      const point = `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return point;
    })
    .join("");
}

/** The area between two curves as an SVG path, over the points where both are known. */
export function band(xs: readonly Value[], low: readonly Value[], high: readonly Value[], x: Scale, y: Scale): string {
  const known = xs.flatMap((at, i) =>
    at !== null && low[i] != null && high[i] != null ? [[at, low[i]!, high[i]!] as const] : [],
  );
  if (known.length < 2) return "";
  const forth = known.map(([at, l]) => `${x(at).toFixed(1)} ${y(l).toFixed(1)}`);
  const back = known.map(([at, , h]) => `${x(at).toFixed(1)} ${y(h).toFixed(1)}`).reverse();
  return `M${[...forth, ...back].join("L")}Z`;
}

/** The mean of curves at each point, over the curves where it is known. */
export function meanCurve(curves: readonly (readonly Value[])[]): Value[] {
  const length = Math.max(0, ...curves.map((c) => c.length));
  return Array.from({ length }, (_, i) => {
    const known = curves.flatMap((c) => (c[i] == null ? [] : [c[i]!]));
    return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
  });
}
