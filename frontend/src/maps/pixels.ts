// Float maps as pixels, and a row of them as one picture with its legends.

import { short } from "../format/numbers";
import { gradientStops, mapColour, NOT_FINITE_COLOUR, type Rgb } from "./colour";

const STEPS = 1024;

/** RGBA pixels of values, clipped at ±clip. */
export function pixels(values: Float32Array, clip: number, signed: boolean): Uint8ClampedArray<ArrayBuffer> {
  const pack = ([r, g, b]: Rgb): number => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const table = Uint32Array.from({ length: 2 * STEPS + 1 }, (_, i) =>
    pack(mapColour(((i - STEPS) / STEPS) * (clip || 1), clip || 1, signed)),
  );
  const odd = pack(NOT_FINITE_COLOUR);
  const out = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const at = clip > 0 ? Math.round((value / clip) * STEPS) : Math.sign(value) * STEPS;
    out[i] = Number.isFinite(value) ? table[Math.max(-STEPS, Math.min(STEPS, at)) + STEPS]! : odd;
  }
  return new Uint8ClampedArray(out.buffer);
}

export interface Plate {
  title: string;
  picture: CanvasImageSource;
  /** Height and width of the picture. */
  shape: readonly [number, number];
  legend: { clip: number; signed: boolean } | null;
}

/** Plates side by side on white, each with its title and, below it, its legend. */
export function sheet(caption: string, plates: readonly Plate[], side: number): HTMLCanvasElement {
  const [gap, top, foot] = [24, 56, 46];
  const canvas = document.createElement("canvas");
  canvas.width = gap + plates.length * (side + gap);
  canvas.height = top + side + foot;
  const context = canvas.getContext("2d")!;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.fillStyle = "#202124";
  context.font = "13px sans-serif";
  context.fillText(caption, gap, 20, canvas.width - 2 * gap);
  plates.forEach(({ title, picture, shape: [height, width], legend }, i) => {
    const x = gap + i * (side + gap);
    const factor = side / Math.max(height, width);
    context.fillStyle = "#202124";
    context.font = "bold 13px sans-serif";
    context.fillText(title, x, top - 10, side);
    context.drawImage(picture, x, top, width * factor, height * factor);
    if (!legend) return;
    const ramp = context.createLinearGradient(x, 0, x + side, 0);
    const stops = gradientStops(legend.signed);
    stops.forEach((colour, at) => ramp.addColorStop(at / (stops.length - 1), colour));
    context.fillStyle = ramp;
    context.fillRect(x, top + side + 10, side, 10);
    context.fillStyle = "#5f6368";
    context.font = "12px sans-serif";
    const end = short(legend.clip);
    context.fillText(legend.signed ? `\u2212${end}` : "0", x, top + side + 36);
    const right = legend.signed ? `+${end}` : end;
    context.fillText(right, x + side - context.measureText(right).width, top + side + 36);
    if (legend.signed) context.fillText("0", x + side / 2 - 3, top + side + 36);
  });
  return canvas;
}
