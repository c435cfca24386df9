// The binary answer with a page of maps.
import { describe, expect, it } from "vitest";
import { decodePage, expand } from "../../src/api/pageOfMaps";

function answer(header: object, blobs: number[]): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = Math.ceil((8 + text.length) / 8) * 8;
  const out = new Uint8Array(start + blobs.length);
  out.set(new TextEncoder().encode("DXT1"));
  new DataView(out.buffer).setUint32(4, text.length, true);
  out.set(text, 8);
  out.set(blobs, start);
  return out.buffer;
}

describe("decodePage", () => {
  for (const pad of ["", "x", "xx", "xxx", "xxxx", "xxxxx", "xxxxxx", "xxxxxxx"]) {
    it(`finds the blobs behind a header padded for ${pad.length}`, () => {
      const page = decodePage(answer({ pad }, [0, 0, 0, 0, 0, 0, 128, 63, 129, 127]));
      expect([...page.codes({ offset: 8, length: 2 })]).toEqual([-127, 127]);
      expect([...page.floats({ offset: 0, length: 8 })]).toEqual([0, 1]);
    });
  }
  it("refuses what is cut off or foreign", () => {
    const whole = answer({ rows: [] }, [1, 2, 3]);
    expect(() => decodePage(whole.slice(0, 6))).toThrow("cut off");
    expect(() => decodePage(whole.slice(0, 12))).toThrow("cut off");
    expect(() => decodePage(new TextEncoder().encode("<!doctype html>").buffer as ArrayBuffer)).toThrow(
      "not a page of maps",
    );
    const page = decodePage(whole);
    expect(() => page.codes({ offset: 0, length: 4 })).toThrow("cut off");
  });
  it("expands codes", () => {
    expect(expand(127, 3)).toBe(3);
    expect(expand(-127, 3)).toBe(-3);
    expect(expand(0, 3)).toBe(0);
    expect(expand(-128, 3)).toBeNaN();
  });
});
