// The parts of a row, and the legend of a column.
import { beforeEach, describe, expect, it } from "vitest";
import { Caption } from "../../src/grid/Caption";
import { ExampleFacts, explainedClass, shownMap } from "../../src/grid/ExampleFacts";
import { Legend } from "../../src/grid/Header";
import { active } from "../../src/state/interaction";
import { page as loadedPage } from "../../src/state/loaded";
import { stores } from "../../src/state/stores";
import { change, view } from "../../src/state/view";
import { button, floatPage, perform, pictureMap, row, show, storeInfo, texts } from "../render";

beforeEach(() => {
  active.value = null;
  loadedPage.value = null;
  change({ clip: "p99", scope: null });
});

function load(...maps: ReturnType<typeof pictureMap>[][]) {
  const page = floatPage({ rows: maps.map((ofRow) => row({ maps: ofRow })) });
  loadedPage.value = { url: "", page };
  return page;
}

describe("caption", () => {
  const caption = (patch: Parameters<typeof pictureMap>[0]): HTMLElement => {
    const map = pictureMap(patch);
    return show(<Caption page={load([map])} row={0} column={0} map={map} />);
  };
  it("shows the clip and the gap", () => {
    expect(texts(caption({}).querySelectorAll("span"))).toEqual(["±0.400", "gap 1.0\u202f%"]);
  });
  it("shows no gap where the method promises none", () => {
    expect(texts(caption({ gap: null, relative_gap: null }).querySelectorAll("span"))).toEqual(["±0.400"]);
  });
  it("highlights large gaps", () => {
    expect(caption({ relative_gap: 0.051 }).querySelector(".Caption_large")!.textContent).toBe("gap 5.1\u202f%");
    expect(caption({ relative_gap: 0.05 }).querySelector(".Caption_large")).toBeNull();
  });
  it("counts values that are not finite, and warns", () => {
    const within = caption({ not_finite: 3, warnings: ["all zero", "no path"] });
    expect(within.querySelector(".Caption_large")!.textContent).toBe("3 NaN");
    expect(within.querySelector("[role=img]")!.getAttribute("aria-label")).toBe("warning: all zero; no path");
  });
});

describe("facts", () => {
  it("say what is wrong to every reader", () => {
    const within = show(<ExampleFacts row={row({ label: 2, label_name: null, misclassified: true })} />);
    expect(within.querySelector(".ExampleFacts_wrong")!.textContent).toBe("≠ misclassified class 2");
  });
  it("show the probability of the predicted class only", () => {
    const predicted = show(<ExampleFacts row={row({ maps: [pictureMap()] })} />);
    expect(predicted.querySelector(".ExampleFacts_probability")!.textContent).toBe("75.0\u202f%");
    const other = show(<ExampleFacts row={row({ maps: [pictureMap({ target: 0, target_name: "cat" })] })} />);
    expect(other.querySelector(".ExampleFacts_probability")).toBeNull();
    expect(other.textContent).toContain("cat 75.0\u202f%");
  });
  it("of a quantity are its value, and name no class", () => {
    const map = pictureMap({ target: 0, target_name: null, target_index: [0], score: 2.5, probability: null });
    const within = show(<ExampleFacts row={row({ predicted: null, predicted_name: null, maps: [map] })} />);
    expect(within.querySelector(".ExampleFacts_class")!.textContent).toBe("2.500");
    expect(texts(within.querySelectorAll("dd"))[1]).toBe("the output");
  });
  it("are of the last step, and of the predicted class", () => {
    const maps = [pictureMap({ step: 5, target: 0 }), pictureMap({ step: 9, target: 0 }), pictureMap({ step: 9 })];
    expect(shownMap(row({ maps }))).toBe(maps[2]);
    expect(shownMap(row({ maps: [...maps.slice(0, 2), null] }))).toBe(maps[1]);
    expect(shownMap(row())).toBeNull();
  });
  it("say what a map explains: a class, perhaps at a position or where it is predicted, a sum or a score function", () => {
    const class3 = { target: 3, target_name: "cat" };
    const words = [
      { ...class3, target_index: [3] },
      { ...class3, target_index: [7, 3] },
      { ...class3, target_index: null, score_function: "region" },
      { target: null, target_index: null, score_function: "sum" },
      { target: null, target_index: null, score_function: "my_scores:odds" },
    ].map((patch) => explainedClass(pictureMap(patch)));
    expect(words).toEqual(["cat", "cat at 7", "cat, where it is predicted", "sum of outputs", "my_scores:odds"]);
  });
});

describe("slice features", () => {
  const slice = (name: string) => ({ name, field: name, type: "text" as const, values: null });
  beforeEach(() => change({ run: "r", store: "attributions", filter: "", sort: "errors" }));
  const facts = (names: string[], values: Record<string, string | number>, open?: () => void): HTMLElement => {
    stores.value = { logdir: "", stores: [storeInfo({ slices: names.map(slice) })] };
    return show(<ExampleFacts row={row({ slices: values })} {...(open ? { open } : {})} />);
  };
  const names = (within: HTMLElement): string[] => texts(within.querySelectorAll("dt")).slice(4);

  it("are facts that filter; a value that is missing does not", () => {
    const within = facts(["plan", "age", "city"], { plan: "pro plus", age: 31 });
    expect(names(within)).toEqual(["plan", "age", "city"]);
    expect(texts(within.querySelectorAll("[data-slice]"))).toEqual(["pro plus", "31", "–"]);
    perform(() => button(within, "pro plus").click());
    perform(() => button(within, "31").click());
    expect(view.value.filter).toBe('plan:"pro plus" age:31');
  });
  it("are at most three in the grid: first those of the order and the filter", () => {
    const all = ["a", "b", "c d", "e", "f"];
    change({ sort: "e", filter: '-"c d":x aa:1' });
    expect(names(facts(all, {}, () => undefined))).toEqual(["c d", "e", "a"]);
    expect(names(facts(all, {}))).toEqual(all);
  });
});

describe("legend", () => {
  const legend = (signed: boolean): HTMLElement =>
    show(<Legend column={0} signed={signed} isText={false} isWide={false} />);
  const ends = (within: HTMLElement): string[] => texts(within.querySelectorAll(".Header_ends span"));
  it("names the clip until a map is pointed at", () => {
    load([pictureMap()], [pictureMap({ quantiles: [1, 2, 3, 4, 5] })]);
    const within = legend(true);
    expect(ends(within)).toEqual(["−p99", "0", "+p99"]);
    perform(() => {
      active.value = { row: 1, column: 0 };
    });
    expect(ends(within)).toEqual(["−4.00", "0", "+4.00"]);
    perform(() => {
      active.value = { row: 1, column: 1 }; // another column has another scale
    });
    expect(ends(within)).toEqual(["−p99", "0", "+p99"]);
  });
  it("of an unsigned method begins at zero, and has numbers where the page shares one scale", () => {
    load([pictureMap()], [pictureMap({ quantiles: [1, 2, 3, 4, 5] })]);
    change({ scope: "page" });
    expect(ends(legend(false))).toEqual(["0", "4.00"]);
  });
});
