// Which display controls a page has: those of the inputs that its examples have.
import { afterEach, expect, it } from "vitest";
import type { MixedInput } from "../../src/api/types";
import { DisplayControls } from "../../src/chrome/DisplayControls";
import { page } from "../../src/state/loaded";
import { floatPage, row, show, storeInfo, tabularInput, textInput, texts } from "../render";

afterEach(() => {
  page.value = null;
});

const inputs = {
  photo: {
    modality: "image",
    media_type: "image/png",
    full: [2, 2],
    data: { offset: 0, length: 4 },
  },
  review: textInput("good", "food"),
  age: tabularInput(),
} satisfies Record<string, MixedInput["parts"][number]["input"]>;

function toggles(...names: (keyof typeof inputs)[]): string[] {
  const input: MixedInput = { modality: "mixed", parts: names.map((name) => ({ name, input: inputs[name] })) };
  page.value = { url: "", page: floatPage({ modality: "mixed", rows: [row({ input })] }) };
  return texts(
    show(<DisplayControls info={storeInfo({ modality: "mixed" })} />).querySelectorAll("label:has([type=checkbox])"),
  );
}

it("offers what the inputs of mixed examples have", () => {
  expect(toggles("age")).toEqual([]);
  expect(toggles("photo", "age")).toEqual(["smooth"]);
  expect(toggles("review", "age")).toEqual(["whole words", "whitespace"]);
  expect(toggles("photo", "review")).toEqual(["whole words", "whitespace", "smooth"]);
});
