// The address: what is written is read back, and nothing else is taken for a view.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CLIPS,
  DEFAULT_VIEW,
  PAGE_SIZES,
  PANES,
  PIVOTS,
  readView,
  SCOPES,
  TILE_SIZES,
  type View,
  writeView,
} from "../../src/state/address";

const nullOr = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(values, { nil: null });
const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,12}$/);
const anyText = fc.string({ unit: "grapheme", maxLength: 20 });

const views: fc.Arbitrary<View> = fc.record({
  pane: fc.constantFrom(...PANES),
  run: anyText,
  store: anyText,
  step: nullOr(fc.integer({ min: -1e9, max: 1e9 })),
  target: nullOr(fc.oneof(fc.constantFrom("predicted", "label", "sum"), fc.nat(999).map(String))),
  pivot: fc.constantFrom(...PIVOTS),
  method: nullOr(name),
  change: fc.boolean(),
  filter: anyText,
  sort: fc.oneof(
    name,
    fc.tuple(name, name).map((names) => names.join(".")),
  ),
  descending: fc.boolean(),
  offset: fc.nat(1e9),
  limit: fc.constantFrom(...PAGE_SIZES),
  example: nullOr(fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })),
  tile: fc.constantFrom(...TILE_SIZES),
  clip: fc.constantFrom(...CLIPS),
  pieces: fc.boolean(),
  blanks: fc.boolean(),
  smooth: fc.boolean(),
  scope: nullOr(fc.constantFrom(...SCOPES)),
});

describe("address", () => {
  it("reads back every view, among the keys of others", () => {
    fc.assert(
      fc.property(views, (view) => {
        const hash = writeView("#deepexplain&p.other.x=1", view);
        expect(hash.startsWith("#deepexplain&p.other.x=1")).toBe(true);
        expect(readView(hash)).toEqual(view);
        expect(writeView(hash, view)).toBe(hash);
      }),
    );
  });
  it("takes any text without failing", () => {
    fc.assert(
      fc.property(anyText, fc.constantFrom("step", "sort", "n", "target", "run", "desc"), (text, key) => {
        const view = readView(`#x&p.deepexplain.${key}=${text}`);
        expect(readView(writeView("", view))).toEqual(view);
      }),
    );
  });
  it("comes back as it was written", () => {
    const view = {
      ...DEFAULT_VIEW,
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
    expect(writeView("#deepexplain&p.other.x=1&p.deepexplain.sort=id", { ...DEFAULT_VIEW, run: "r", store: "s" })).toBe(
      "#deepexplain&p.other.x=1&p.deepexplain.run=r&p.deepexplain.store=s",
    );
  });
  it("still reads the links of before there was a filter", () => {
    expect(readView("#x&p.deepexplain.only=misclassified").filter).toBe("is:error");
  });
  it("takes defaults for nonsense", () => {
    expect(
      readView(
        "#x&p.deepexplain.sort=a%2Cb&p.deepexplain.columns=colours&p.deepexplain.method=A&p.deepexplain.view=all&p.deepexplain.at=-4&p.deepexplain.n=1000&p.deepexplain.clip=p50&p.deepexplain.target=<b>&p.deepexplain.run=%E0%A4%A",
      ),
    ).toEqual(DEFAULT_VIEW);
  });
});
