// What stands in place of the grid.
import { beforeEach, expect, it, vi } from "vitest";
import { FailureBar, fullState, NewVersionBar } from "../../src/chrome/States";
import { retries } from "../../src/state/failure";
import { page, pageFailure, summaryFailure } from "../../src/state/loaded";
import { newerStores, stores, storesFailure } from "../../src/state/stores";
import { change } from "../../src/state/view";
import { button, floatPage, perform, row, show, storeInfo } from "../render";

const failure = { sentence: "the index cannot be read", route: "api/tiles", status: 503 };

beforeEach(() => {
  vi.stubGlobal("fetch", () => new Promise(() => undefined));
  stores.value = { logdir: "/logs", stores: [storeInfo()] };
  storesFailure.value = pageFailure.value = summaryFailure.value = newerStores.value = null;
  page.value = { url: "", page: floatPage({ rows: [row()] }) };
  change({ run: "r", store: "attributions", filter: "", offset: 0, pane: "examples" });
});

const State = () => <>{fullState()}</>;
const text = (): string => show(<State />).textContent!;

it("is nothing where there are rows", () => expect(text()).toBe(""));

it("waits for the first answer", () => {
  stores.value = null;
  expect(show(<State />).querySelector("[aria-busy=true]")).not.toBeNull();
  stores.value = { logdir: "", stores: [storeInfo()] };
  page.value = null;
  expect(show(<State />).querySelector("[aria-busy=true]")).not.toBeNull();
});

it("says how to fill an empty log directory", () => {
  stores.value = { logdir: "/logs", stores: [] };
  expect(text()).toContain("No run under /logs announces an attribution store");
  expect(text()).toContain("write_marker(");
});

it("names a store that is not there, and why one cannot be read", () => {
  change({ run: "elsewhere", store: "s" });
  expect(text()).toContain("TensorBoard lists no store s in run elsewhere");
  stores.value = { logdir: "", stores: [{ run: "elsewhere", store: "s", error: "finish its run first" }] };
  expect(text()).toContain("finish its run first");
});

it.each([
  [{ filter: "label:cat" }, "No example meets every term of the filter"],
  [{ filter: "is:error" }, "Nothing is misclassified"],
  [{ filter: "" }, "The store holds no maps for this selection"],
  [{ offset: 96 }, "This page is after the last example"],
])("explains an empty page with %o", (patch, sentence) => {
  page.value = { url: "", page: floatPage({}) };
  change(patch);
  expect(text()).toContain(sentence);
});

it("shows a failure with its route, and retries", () => {
  pageFailure.value = failure;
  page.value = null;
  const within = show(<State />);
  expect(within.querySelector("[role=alert]")!.textContent).toContain("the index cannot be read");
  expect(within.textContent).toContain("api/tiles · 503");
  const before = retries.value;
  perform(() => button(within, "Retry").click());
  expect(retries.value).toBe(before + 1);
});

it("shows a failure of the Summary only there", () => {
  summaryFailure.value = failure;
  expect(text()).toBe("");
  change({ pane: "summary" });
  expect(text()).toContain("the index cannot be read");
});

it("keeps the old page below a failure", () => {
  pageFailure.value = failure;
  expect(text()).toBe("");
  expect(show(<FailureBar />).textContent).toContain("the index cannot be read api/tiles");
});

it("offers new examples and shows them on request", () => {
  const newer = { logdir: "/logs", stores: [storeInfo({ version: "v2", examples: 31 })] };
  newerStores.value = { stores: newer, newExamples: 1 };
  const within = show(<NewVersionBar />);
  expect(within.textContent).toContain("1 new example");
  expect(stores.value).not.toBe(newer);
  perform(() => button(within, "Show").click());
  expect(stores.value).toBe(newer);
  expect(within.textContent).toBe("");
});
