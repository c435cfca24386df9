// The binary page, the address, and how numbers are written.
import { describe, expect, it } from "vitest";
import { decodePage, expand } from "../../src/api/pageOfMaps";
import { percent, plusMinus, short, withSign } from "../../src/format/numbers";
import { DEFAULTS, readView, writeView } from "../../src/state/address";

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

describe("address", () => {
  it("comes back as it was written", () => {
    const view = {
      ...DEFAULTS,
      run: "a/b &c",
      store: "s",
      sort: "integrated_gradients.gap",
      descending: false,
      filter: 'text:"a & b" -is:error',
      offset: 48,
      limit: 96,
      tile: 64,
      clip: "p95" as const,
      scope: "row" as const,
      step: -3,
      target: "7",
      pivot: "steps" as const,
      method: "occlusion",
      change: true,
      example: "a=b&c",
      pane: "summary" as const,
      pieces: true,
    };
    expect(readView(writeView("#deepexplain", view))).toEqual(view);
  });
  it("leaves out defaults and leaves others alone", () => {
    expect(writeView("#deepexplain&p.other.x=1&p.deepexplain.sort=id", { ...DEFAULTS, run: "r", store: "s" })).toBe(
      "#deepexplain&p.other.x=1&p.deepexplain.run=r&p.deepexplain.store=s",
    );
  });
  it("still reads the links of before there was a filter", () => {
    expect(readView("#x&p.deepexplain.only=misclassified").filter).toBe("is:error");
  });
  it("takes defaults for nonsense", () => {
    expect(
      readView(
        "#x&p.deepexplain.sort=U%20P&p.deepexplain.columns=colours&p.deepexplain.method=A&p.deepexplain.view=all&p.deepexplain.at=-4&p.deepexplain.n=1000&p.deepexplain.clip=p50&p.deepexplain.target=<b>&p.deepexplain.run=%E0%A4%A",
      ),
    ).toEqual(DEFAULTS);
  });
});

describe("numbers", () => {
  it.each([
    [0, "0"],
    [0.0012345, "0.00123"],
    [12.345, "12.3"],
    [-0.5, "−0.500"],
    [99999, "99999"],
    [123456, "1.23e5"],
    [0.00001234, "1.23e−5"],
    [999.95, "1000"],
    [null, "–"],
    [NaN, "–"],
    [-Infinity, "−∞"],
  ])("%s is written %s", (value, text) => expect(short(value)).toBe(text));
  it("gives a mean the decimals of its interval", () => {
    expect([
      plusMinus(0.8749, 0.0123),
      plusMinus(-0.00075, 0.0121),
      plusMinus(29.74, 10.6),
      plusMinus(1.7e-8, 8.3e-9),
      plusMinus(2, 0),
    ]).toEqual(["0.875 ± 0.012", "−0.001 ± 0.012", "30 ± 11", "1.70e−8 ± 8.3e−9", "2.00 ± 0"]);
  });
  it("shows signs and shares", () => {
    expect(withSign(0.25)).toBe("+0.2500");
    expect(withSign(-0.25)).toBe("−0.2500");
    expect(percent(0.0123)).toBe("1.2\u202f%");
    expect(percent(1)).toBe("100\u202f%");
    expect(percent(Infinity)).toBe("–");
  });
});
