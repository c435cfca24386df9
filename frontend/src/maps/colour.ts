// From values to colours: the rules of the page. Maps look the same in both themes; words follow the theme.
import { expand, NOT_FINITE } from "../api/pageOfMaps";
import type { Theme } from "../state/host";

export type Rgb = readonly [number, number, number];

/** ColorBrewer RdBu: blue for negative, red for positive, a neutral for zero. */
export const DIVERGING: readonly Rgb[] = [
  [5, 48, 97],
  [33, 102, 172],
  [67, 147, 195],
  [146, 197, 222],
  [209, 229, 240],
  [247, 247, 247],
  [253, 219, 199],
  [244, 165, 130],
  [214, 96, 77],
  [178, 24, 43],
  [103, 0, 31],
];

/** ColorBrewer Purples: one hue, from the same neutral. */
export const SEQUENTIAL: readonly Rgb[] = [
  [247, 247, 247],
  [239, 237, 245],
  [218, 218, 235],
  [188, 189, 220],
  [158, 154, 200],
  [128, 125, 186],
  [106, 81, 163],
  [84, 39, 143],
  [63, 0, 125],
];

/** The colour of values that are not finite; it occurs in neither ramp. */
export const NOT_FINITE_COLOUR: Rgb = [255, 214, 0];

interface WordRamps {
  paper: Rgb;
  negative: readonly Rgb[];
  positive: readonly Rgb[];
  unsigned: readonly Rgb[];
}

// In the dark theme the ramps get lighter with magnitude; else the strongest word would be the least visible.
export const WORDS: Record<Theme, WordRamps> = {
  light: {
    paper: [255, 255, 255],
    negative: [
      [255, 255, 255],
      [209, 229, 240],
      [146, 197, 222],
      [96, 165, 206],
    ],
    positive: [
      [255, 255, 255],
      [253, 224, 208],
      [246, 178, 147],
      [232, 128, 104],
    ],
    unsigned: [
      [255, 255, 255],
      [226, 224, 240],
      [193, 190, 222],
      [158, 150, 203],
    ],
  },
  dark: {
    paper: [48, 48, 48],
    negative: [
      [48, 48, 48],
      [46, 84, 118],
      [74, 142, 190],
      [150, 203, 236],
    ],
    positive: [
      [48, 48, 48],
      [120, 62, 52],
      [196, 104, 82],
      [250, 176, 148],
    ],
    unsigned: [
      [48, 48, 48],
      [84, 74, 122],
      [138, 124, 190],
      [196, 186, 234],
    ],
  },
};

/** The colour at `t` in [0, 1] of a ramp of evenly spaced stops. */
export function ramp(stops: readonly Rgb[], t: number): Rgb {
  const at = Math.min(1, Math.max(0, t)) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const [a, b] = [stops[low]!, stops[low + 1]!];
  const f = at - low;
  return [
    Math.round(a[0] + f * (b[0] - a[0])),
    Math.round(a[1] + f * (b[1] - a[1])),
    Math.round(a[2] + f * (b[2] - a[2])),
  ];
}

/** The colour of a map's value, clipped at ±clip, symmetric about zero. */
export function mapColour(value: number, clip: number, signed: boolean): Rgb {
  if (!Number.isFinite(value)) return NOT_FINITE_COLOUR;
  const t = clip > 0 ? value / clip : Math.sign(value);
  return signed ? ramp(DIVERGING, (Math.max(-1, Math.min(1, t)) + 1) / 2) : ramp(SEQUENTIAL, Math.abs(t));
}

/** A colour as one opaque little-endian RGBA pixel. */
export const pack = ([r, g, b]: Rgb): number => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

/** RGBA of all 256 codes as little-endian pixels, indexed by the code's byte: recolouring a map reads no floats. */
export function colourTable(scale: number, clip: number, signed: boolean): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(256);
  for (let code = NOT_FINITE; code < 128; code++) {
    table[code & 255] = pack(mapColour(expand(code, scale), clip, signed));
  }
  return table;
}

/** Background and text colour of a word. */
export function wordColour(value: number, clip: number, signed: boolean, theme: Theme): { back: Rgb; fore: Rgb } {
  const { paper, negative, positive, unsigned } = WORDS[theme];
  const t = clip > 0 ? Math.abs(value) / clip : 0;
  const back = Number.isFinite(t) ? ramp(!signed ? unsigned : value < 0 ? negative : positive, t) : paper;
  return { back, fore: readable(back) };
}

/** Black or white, whichever has more contrast to `back`. */
export function readable(back: Rgb): Rgb {
  const dark: Rgb = [0, 0, 0];
  const light: Rgb = [255, 255, 255];
  return contrast(dark, back) >= contrast(light, back) ? dark : light;
}

/** WCAG 2 contrast ratio. */
export function contrast(a: Rgb, b: Rgb): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

function luminance(colour: Rgb): number {
  const [r, g, b] = colour.map((c) => (c <= 10.31475 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)) as [
    number,
    number,
    number,
  ];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** A colour in CSS. */
export const css = (colour: Rgb): string => `rgb(${colour[0]},${colour[1]},${colour[2]})`;

/** The colours of a map's legend, from left to right. */
export const gradientStops = (signed: boolean): string[] => (signed ? DIVERGING : SEQUENTIAL).map(css);

/** The legend of maps, or of words in a theme, as a CSS gradient. */
export function gradient(signed: boolean, words: Theme | null): string {
  const { negative, positive, unsigned } = WORDS[words ?? "light"];
  const stops =
    words === null
      ? signed
        ? DIVERGING
        : SEQUENTIAL
      : signed
        ? [...negative.slice(1).reverse(), ...positive]
        : unsigned;
  return `linear-gradient(to right, ${stops.map(css).join(",")})`;
}
