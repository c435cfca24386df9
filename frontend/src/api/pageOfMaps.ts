// Reads the binary answer DXT1: magic, header length, JSON header, padding to 8, then the blobs.
import type { Blob, PageHeader } from "./types";

export const NOT_FINITE = -128;

export interface Page {
  header: PageHeader;
  bytes(place: Blob): Uint8Array<ArrayBuffer>;
  codes(place: Blob): Int8Array<ArrayBuffer>;
  floats(place: Blob): Float32Array<ArrayBuffer>;
}

export function decodePage(buffer: ArrayBuffer): Page {
  if (buffer.byteLength < 8) throw new Error("the answer is cut off");
  const magic = String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (magic !== "DXT1") throw new Error(`the answer is not a page of maps (it begins with ${JSON.stringify(magic)})`);
  const length = new DataView(buffer).getUint32(4, true);
  const start = Math.ceil((8 + length) / 8) * 8;
  if (buffer.byteLength < start) throw new Error("the answer is cut off");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as PageHeader;
  const within = (place: Blob): number => {
    if (start + place.offset + place.length > buffer.byteLength) throw new Error("the answer is cut off");
    return start + place.offset;
  };
  return {
    header,
    bytes: (place) => new Uint8Array(buffer, within(place), place.length),
    codes: (place) => new Int8Array(buffer, within(place), place.length),
    floats: (place) => new Float32Array(buffer, within(place), place.length / 4),
  };
}

/** The value that a code stands for: sign(code) · (code / 127)² · scale. */
export function expand(code: number, scale: number): number {
  if (code === NOT_FINITE) return NaN;
  return Math.sign(code) * (code / 127) ** 2 * scale;
}
