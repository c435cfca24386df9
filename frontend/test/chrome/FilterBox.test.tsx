// The filter: typed terms become chips, chips remove terms.
import { beforeEach, expect, it } from "vitest";
import type { PageHeader } from "../../src/api/types";
import { FilterBox } from "../../src/chrome/FilterBox";
import { page } from "../../src/state/loaded";
import { change, view } from "../../src/state/view";
import { button, floatPage, perform, show, storeInfo, texts } from "../render";

beforeEach(() => change({ filter: "", offset: 0 }));

const chips = (within: HTMLElement): string[] => texts(within.querySelectorAll(".FilterBox_chip"));

function type(within: HTMLElement, text: string): void {
  const input = within.querySelector<HTMLInputElement>("[aria-label=Filter]")!;
  input.value = text;
  perform(() => within.querySelector("form")!.dispatchEvent(new Event("submit", { cancelable: true })));
  expect(input.value).toBe("");
}

it("adds what is typed and returns to the first page", () => {
  change({ offset: 48 });
  const within = show(<FilterBox info={storeInfo()} />);
  type(within, '  label:cat text:"not bad" ');
  expect(view.value).toMatchObject({ filter: 'label:cat text:"not bad"', offset: 0 });
  expect(chips(within)).toEqual(["label:cat×", 'text:"not bad"×']);
  type(within, "   ");
  expect(chips(within)).toHaveLength(2);
});

it("removes a term by its chip", () => {
  change({ filter: "a b c" });
  const within = show(<FilterBox info={storeInfo()} />);
  perform(() => button(within, "remove b").click());
  expect(view.value.filter).toBe("a c");
  expect(chips(within)).toEqual(["a×", "c×"]);
});

it("toggles the misclassified ones", () => {
  change({ filter: "is:correct label:cat" });
  const within = show(<FilterBox info={storeInfo()} />);
  const box = within.querySelector<HTMLInputElement>("[type=checkbox]")!;
  expect(box.checked).toBe(false);
  perform(() => box.click());
  expect(view.value.filter).toBe("label:cat is:error");
  perform(() => box.click());
  expect(view.value.filter).toBe("label:cat");
});

it("offers no misclassified examples where none can be", () => {
  const showWith = (header: Partial<PageHeader>): HTMLElement => {
    page.value = { url: "", page: floatPage(header) };
    return show(<FilterBox info={storeInfo()} />);
  };
  const within = showWith({ are_judged: false });
  expect(within.querySelector("[type=checkbox]")).toBeNull();
  expect([...within.querySelectorAll("option")].map((option) => option.value)).not.toContain("is:error");
  change({ filter: "is:error" });
  expect(showWith({ are_judged: false }).querySelector("[type=checkbox]")).not.toBeNull();
  page.value = null;
});

it("hints at the fields of the store", () => {
  const measures = [{ id: "deletion", title: "Deletion", better: "lower" as const }];
  const within = show(<FilterBox info={storeInfo({ modality: "text", measures })} />);
  const hints = [...within.querySelectorAll("option")].map((option) => option.value);
  expect(hints).toEqual(
    expect.arrayContaining(["text:", "integrated_gradients.gap>", "integrated_gradients.deletion>"]),
  );
  expect(within.querySelector<HTMLInputElement>("[aria-label=Filter]")!.placeholder).toContain('text:"not bad"');
});

it("hints at slice features and their values, quoted where they must be", () => {
  const slices = [
    { name: "plan", field: "plan", type: "text" as const, values: ["basic", "pro plus"] },
    { name: "age", field: "age", type: "number" as const, values: null },
    { name: "plan type", field: "plan type", type: "text" as const, values: null },
    { name: "label", field: "slice.label", type: "number" as const, values: null },
  ];
  const within = show(<FilterBox info={storeInfo({ slices })} />);
  const hints = [...within.querySelectorAll("option")].map((option) => option.value);
  expect(hints).toEqual(
    expect.arrayContaining(["plan:basic", 'plan:"pro plus"', "age>", '"plan type":', "slice.label>"]),
  );
  expect(within.querySelector<HTMLInputElement>("[aria-label=Filter]")!.placeholder).toContain(" plan:basic");
});
