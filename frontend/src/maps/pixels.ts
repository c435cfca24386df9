// Float maps as pixels.
import { mapColour, NOT_FINITE_COLOUR, pack } from "./colour";

/** Colours of one sign. */
const STEPS = 1024;

/** RGBA pixels of values, clipped at ±clip. */
export function pixels(values: Float32Array, clip: number, signed: boolean): Uint8ClampedArray<ArrayBuffer> {
  const end = clip || 1;
  const colour = (_: unknown, i: number): number => pack(mapColour(((i - STEPS) / STEPS) * end, end, signed));
  const table = Uint32Array.from({ length: 2 * STEPS + 1 }, colour);
  const notFinite = pack(NOT_FINITE_COLOUR);
  const rgba = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const step = clip > 0 ? Math.round((value / clip) * STEPS) : Math.sign(value) * STEPS;
    rgba[i] = Number.isFinite(value) ? table[Math.max(-STEPS, Math.min(STEPS, step)) + STEPS]! : notFinite;
  }
  return new Uint8ClampedArray(rgba.buffer);
}
