// Zooming a tile about a point.
export const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

export interface Zoom {
  factor: number;
  x: number;
  y: number;
}

/** Zoom about a point of a tile of this side, both ends kept within. */
export function zoomed(from: Zoom, by: number, px: number, py: number, side: number): Zoom {
  const factor = clamp(from.factor * by, 1, 32);
  const limit = side * (1 - factor);
  const shift = (offset: number, p: number): number => clamp(p - ((p - offset) * factor) / from.factor, limit, 0) + 0; // never −0
  return { factor, x: shift(from.x, px), y: shift(from.y, py) };
}
