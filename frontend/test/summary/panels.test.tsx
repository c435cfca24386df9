// The panels of the Summary lead back to examples; what is not better than chance is grey.
import { beforeEach, describe, expect, it } from "vitest";
import type { Faithfulness, Gaps, Mean } from "../../src/api/types";
import { change, view } from "../../src/state/view";
import { FaithfulnessPanel, precisionText } from "../../src/summary/FaithfulnessPanel";
import { GapPanel } from "../../src/summary/GapPanel";
import { isBetter } from "../../src/summary/MeasureTable";
import { perform, show, texts } from "../render";

beforeEach(() => change({ pane: "summary", filter: "" }));

const mean = (low: number, high: number): Mean => ({ n: 10, mean: (low + high) / 2, low, high });

describe("gaps", () => {
  const summary = {
    edges: [0, 0.01, 0.1],
    histograms: [{ method: "lrp", title: "LRP", counts: [5, 0, 2], median: 0.005, p95: 0.2, known: 7, unknown: 1 }],
    methods: [],
  } as unknown as Gaps;
  it("filter the examples of a bar", () => {
    const within = show(<GapPanel summary={summary} />);
    const bars = [...within.querySelectorAll("button")];
    expect(bars.map((bar) => bar.disabled)).toEqual([false, true, false]);
    perform(() => bars[2]!.click());
    expect(view.value).toMatchObject({ pane: "examples", filter: "lrp.gap>0.1" });
    perform(() => bars[0]!.click());
    expect(view.value.filter).toBe("lrp.gap>0.1 lrp.gap:0..0.01");
    expect(within.textContent).toContain("unknown for 1");
  });
});

describe("faithfulness", () => {
  const measure = { id: "deletion", title: "Deletion", better: "lower" as const, axis: null, parameters: { steps: 8 } };
  const summary = (patch: Partial<Faithfulness>): Faithfulness => ({
    version: "v1",
    examples: 20,
    measured: null,
    superpixels: null,
    step: null,
    methods: [
      { id: "a", title: "A", signed: true },
      { id: "b", title: "B", signed: true },
    ],
    measures: [measure],
    means: {
      a: { deletion: { ...mean(0.1, 0.2), random: mean(0.3, 0.4) } },
      b: { deletion: { ...mean(0.1, 0.35), random: mean(0.3, 0.4) } },
    },
    evaluation: null,
    precision: null,
    ...patch,
  });
  it("says how far maps of another precision differ from float32", () => {
    const error = { method: "a", title: "A", examples: 8, median: 0.047, worst: 0.159, rank_correlation: 0.98 };
    const other = { ...error, title: "B", median: 0.0002, worst: 4e-7, rank_correlation: null };
    const precision = { precision: "tf32", errors: [error, other], without_tf32: 0 };
    const text =
      "TF32: maps differ from float32 by 4.7\u202f% (median; 16\u202f% at worst, rank correlation 0.980; 8 examples) for A, " +
      "by 0.02\u202f% (median; less than 0.001\u202f% at worst; 8 examples) for B.";
    for (const patch of [{ precision }, { precision, measures: [] }])
      expect(show(<FaithfulnessPanel summary={summary(patch)} />).textContent).toContain(text);
    const onCpu = { precision: "tf32", errors: [], without_tf32: 1200 };
    const within = show(<FaithfulnessPanel summary={summary({ precision: onCpu })} />);
    expect(within.textContent).toContain("TF32 changes nothing on a CPU: 1,200 examples are in float32.");
    const unknown = { precision: "mixed", errors: [], without_tf32: 0 };
    expect(precisionText(unknown)).toBe(
      "Mixed precision: this store does not say how far its maps differ from float32.",
    );
    expect(precisionText(null)).toBe("");
  });
  it("says that there are no measures", () => {
    expect(show(<FaithfulnessPanel summary={summary({ measures: [] })} />).textContent).toContain("holds no measures");
  });
  it("is grey where the intervals overlap", () => {
    const within = show(<FaithfulnessPanel summary={summary({})} />);
    expect(texts(within.querySelectorAll("tbody th"))).toEqual(["A", "B", "random maps"]);
    expect(texts(within.querySelectorAll("td.faint"))).toEqual(["0.22 ± 0.12"]);
    expect(within.textContent).toContain("A sample: 10 of 20 examples; means");
    const ofTraining = show(<FaithfulnessPanel summary={summary({ step: 1200 })} />);
    expect(ofTraining.textContent).toContain("A sample: 10 of 20 examples at step 1,200; means");
  });
  it("lists the best method first if they are ranked", () => {
    const ranking = { low: 1, high: 2, sanity: null, evaluations: 1, seconds: 1 };
    const evaluation = {
      advice: "Use B.",
      ranked_by: ["deletion"],
      methods: [
        { id: "b", mean_rank: 1.2, ...ranking },
        { id: "a", mean_rank: 1.8, ...ranking },
      ],
    };
    const within = show(<FaithfulnessPanel summary={summary({ evaluation })} />);
    expect(texts(within.querySelectorAll("tbody th"))).toEqual(["B", "A", "random maps"]);
  });
  it("is better than chance on the right side only", () => {
    expect(isBetter(mean(0.5, 0.6), mean(0.3, 0.4), "higher")).toBe(true);
    expect(isBetter(mean(0.5, 0.6), mean(0.3, 0.4), "lower")).toBe(false);
    expect(isBetter(mean(0.35, 0.6), mean(0.3, 0.4), "higher")).toBe(false);
    expect(isBetter({ ...mean(-0.5, 0.6), low: null }, mean(-0.9, -0.8), "higher")).toBe(false);
    expect(isBetter({ ...mean(0.1, 0.2), high: null }, mean(0.3, 0.4), "lower")).toBe(false);
  });
});
