// Zooming a tile about a point.

export const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

const MAX_FACTOR = 32;

/** The scale of a tile and the offset of its contents, in pixels. */
export interface Zoom {
  factor: number;
  x: number;
  y: number;
}

/** Zoom by a factor about the point (px, py) of a tile of this side; the contents keep covering the tile. */
export function zoomAt(from: Zoom, by: number, px: number, py: number, side: number): Zoom {
  const factor = clamp(from.factor * by, 1, MAX_FACTOR);
  const limit = side * (1 - factor);
  // + 0 turns −0 into 0
  const shift = (offset: number, p: number): number => clamp(p - ((p - offset) * factor) / from.factor, limit, 0) + 0;
  return { factor, x: shift(from.x, px), y: shift(from.y, py) };
}
