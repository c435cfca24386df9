// What the drawer computes and what it writes to files.
import { describe, expect, it } from "vitest";
import { cell, csv, npy } from "../../src/drawer/files";
import { zoomAt } from "../../src/drawer/zoom";
import { DIVERGING, NOT_FINITE_COLOUR } from "../../src/maps/colour";
import { pixels } from "../../src/maps/pixels";
import { rank } from "../../src/maps/quantiles";

describe("files", () => {
  it("are NumPy's: magic, a header that ends on 64 bytes, then the floats", async () => {
    const bytes = new Uint8Array(await npy(new Float32Array([1, -2, 0.5]), [3]).arrayBuffer());
    expect(String.fromCharCode(...bytes.slice(1, 6))).toBe("NUMPY");
    const length = bytes[8]! + 256 * bytes[9]!;
    expect((10 + length) % 64).toBe(0);
    const text = new TextDecoder().decode(bytes.slice(10, 10 + length));
    expect(text).toMatch(/^\{'descr': '<f4', 'fortran_order': False, 'shape': \(3,\), \} *\n$/);
    expect([...new Float32Array(bytes.slice(10 + length).buffer)]).toEqual([1, -2, 0.5]);
  });
  it("hold no formula and no broken line", async () => {
    expect(cell("=1+1")).toBe("'=1+1");
    expect(cell('a "b", c')).toBe('"a ""b"", c"');
    expect(cell("two\nlines")).toBe('"two\nlines"');
    expect([cell(null), cell(NaN), cell(-0.5)]).toEqual(["", "nan", "-0.5"]);
    expect(await csv(["a", "b"], [[1, "x"]]).text()).toBe("a,b\r\n1,x\r\n");
  });
});

describe("maps", () => {
  it("are painted as the tiles are", () => {
    const painted = pixels(new Float32Array([0, 1, -1, 9, NaN]), 1, true);
    const at = (i: number): number[] => [...painted.slice(4 * i, 4 * i + 3)];
    expect([at(0), at(1), at(2), at(3), at(4)]).toEqual([
      [247, 247, 247],
      [...DIVERGING.at(-1)!],
      [...DIVERGING[0]!],
      [...DIVERGING.at(-1)!],
      [...NOT_FINITE_COLOUR],
    ]);
    expect([...pixels(new Float32Array([0, 0]), 0, true).slice(0, 3)]).toEqual([247, 247, 247]);
  });
  it("zoom about the pointer and never leave the tile", () => {
    const once = zoomAt({ factor: 1, x: 0, y: 0 }, 2, 110, 55, 220);
    expect(once).toEqual({ factor: 2, x: -110, y: -55 });
    expect(zoomAt(once, 0.1, 0, 0, 220)).toEqual({ factor: 1, x: 0, y: 0 });
    expect(zoomAt({ factor: 32, x: -100, y: -100 }, 2, 10, 10, 220).factor).toBe(32);
    const corner = zoomAt(once, 0.75, 220, 220, 220);
    expect(corner.x).toBeGreaterThanOrEqual(220 * (1 - 1.5));
  });
  it("know how many values lie below", () => {
    const sorted = new Float32Array([0, 1, 1, 2]);
    expect([
      rank(sorted, -1),
      rank(sorted, 1),
      rank(sorted, 1.5),
      rank(sorted, 2),
      rank(new Float32Array(0), 1),
    ]).toEqual([0, 0.75, 0.75, 1, 0]);
  });
});
