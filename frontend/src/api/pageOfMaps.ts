// Reads the binary answer DXT1: magic, header length, JSON header, padding to 8 bytes, then the blobs.
import type { BlobRange, PageHeader } from "./types";

/** The code of a value that is not finite. */
export const NOT_FINITE = -128;

export interface Page {
  header: PageHeader;
  /** Of a page that holds one input of mixed examples, or their tabular ones: a name for it, the inputs, and the whole page. */
  part?: { name: string; inputs: readonly string[]; whole: Page };
  bytes(blob: BlobRange): Uint8Array<ArrayBuffer>;
  codes(blob: BlobRange): Int8Array<ArrayBuffer>;
  floats(blob: BlobRange): Float32Array<ArrayBuffer>;
}

export function decodePage(buffer: ArrayBuffer): Page {
  if (buffer.byteLength < 8) throw new Error("the answer is cut off");
  const magic = String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (magic !== "DXT1") throw new Error(`the answer is not a page of maps (it begins with ${JSON.stringify(magic)})`);
  const length = new DataView(buffer).getUint32(4, true);
  const start = Math.ceil((8 + length) / 8) * 8;
  if (buffer.byteLength < start) throw new Error("the answer is cut off");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as PageHeader;
  const offsetOf = (blob: BlobRange): number => {
    if (start + blob.offset + blob.length > buffer.byteLength) throw new Error("the answer is cut off");
    return start + blob.offset;
  };
  return {
    header,
    bytes: (blob) => new Uint8Array(buffer, offsetOf(blob), blob.length),
    codes: (blob) => new Int8Array(buffer, offsetOf(blob), blob.length),
    floats: (blob) => new Float32Array(buffer, offsetOf(blob), blob.length / 4),
  };
}

/** The value of a code: sign(code) · (code / 127)² · scale. */
export function expand(code: number, scale: number): number {
  if (code === NOT_FINITE) return NaN;
  return Math.sign(code) * (code / 127) ** 2 * scale;
}
