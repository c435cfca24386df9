// Where colour scales end.
import { describe, expect, it } from "vitest";
import { clipShare, clipValue, sharedClips } from "../../src/maps/clips";

describe("clips", () => {
  it("come from the stored quantiles", () => {
    expect([..."p90 p95 p99 p100".split(" ")].map((c) => clipValue([1, 2, 3, 4, 5], c as "p90"))).toEqual([2, 3, 4, 5]);
    expect(clipShare("p99")).toBe(0.99);
  });
  it("are shared as the scope says", () => {
    const clips = [
      [1, null, 4],
      [2, 8, 3],
    ];
    expect(sharedClips(clips, "map")).toEqual([
      [1, 0, 4],
      [2, 8, 3],
    ]);
    expect(sharedClips(clips, "row")).toEqual([
      [4, 4, 4],
      [8, 8, 8],
    ]);
    expect(sharedClips(clips, "page")).toEqual([
      [8, 8, 8],
      [8, 8, 8],
    ]);
  });
});
