// What examples can be sorted by, and which end of an order comes first.
import { expect, it } from "vitest";
import { beginsWithLargest, sortOptions, sortTitle } from "../../src/chrome/sorts";
import { storeInfo } from "../render";

const slices = [
  { name: "plan", field: "plan", type: "text" as const, values: ["basic", "pro"] },
  { name: "score", field: "slice.score", type: "number" as const, values: null },
];
const store = storeInfo({ slices });

it("offers slice features, and those with the name of another field by their whole name", () => {
  const { fields, groups } = sortOptions(store, ["score"], true);
  expect(fields.map(([field]) => field)).toEqual(["errors", "id", "score"]);
  const ofSlices = groups.find(([title]) => title === "slice feature")![1];
  expect(ofSlices.map(([field]) => field)).toEqual(["plan", "slice.score"]);
  expect(ofSlices.map(([field]) => sortTitle(field, store))).toEqual(["plan", "slice.score"]);
  expect(sortOptions(storeInfo(), [], true).groups).toEqual([]);
});

it("sorts examples that are neither correct nor misclassified by their gap", () => {
  const titles = [true, false].map((areJudged) => sortOptions(store, [], areJudged).fields[0]);
  expect(titles).toEqual([
    ["errors", "misclassified, then gap"],
    ["errors", "relative gap"],
  ]);
});

it("begins with the smallest of ids and texts only", () => {
  expect(["id", "plan", "slice.score", "score", "errors"].map((field) => beginsWithLargest(field, store))).toEqual([
    false,
    false,
    true,
    true,
    true,
  ]);
});
