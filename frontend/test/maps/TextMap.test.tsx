// Words in running text: which are special, underlined, not finite; folding; the tooltip.
import { expect, it } from "vitest";
import { TextMap } from "../../src/maps/TextMap";
import { fold, layOut } from "../../src/maps/words";
import { hover } from "../../src/state/interaction";
import { blanks, change } from "../../src/state/view";
import { row as exampleRow, floatPage, method, perform, show, texts, valuesMap } from "../render";

const tokens = ["[CLS]", "not", "so", "bad", "!"];
const values = [9, -2, -0.1, 1.5, NaN];

function showText(limit = 100) {
  const words = layOut(tokens, null);
  let unfolded = 0;
  const within = show(
    <div data-row>
      <TextMap
        page={floatPage({ rows: [exampleRow()] }, values)}
        row={0}
        column={0}
        map={valuesMap(5)}
        method={method()}
        tokens={tokens}
        words={words}
        pieces={fold(words, [0, 0, 0, 5, 0], limit, 1)}
        values={values}
        clip={1}
        unfold={() => {
          unfolded += 1;
        }}
      />
    </div>,
  );
  return { within, unfolds: () => unfolded };
}

const words = (within: HTMLElement, look: string): string[] => texts(within.querySelectorAll(`.TextMap_${look}`));

it("reads as plain text and marks words by their values", () => {
  const { within } = showText();
  expect(within.textContent).toBe("[CLS] not so bad!");
  expect([words(within, "special"), words(within, "negative"), words(within, "bad")]).toEqual([
    ["[CLS]"],
    ["not"],
    ["!"],
  ]);
});

it("marks blanks only if the view says so, without changing the text", () => {
  const { within } = showText();
  expect(words(within, "blank")).toEqual([]);
  perform(() => change({ blanks: true }));
  expect(blanks.value && words(within, "blank")).toEqual([" ", " ", " "]);
  expect(within.textContent).toBe("[CLS] not so bad!");
  perform(() => change({ blanks: false }));
});

it("shows the value of the word under the pointer, and its twins in other columns", () => {
  const { within } = showText();
  const chip = within.querySelector('[data-word="3"]')!;
  perform(() => chip.dispatchEvent(new PointerEvent("pointermove", { bubbles: true })));
  expect(hover.value).toMatchObject({ value: "+1.500", lines: ["“bad”", "beyond the clip 1.00"] });
  expect(words(within, "same")).toEqual(["bad"]);
  perform(() => within.querySelector("p")!.dispatchEvent(new PointerEvent("pointerleave")));
  expect(hover.value).toBeNull();
  expect(words(within, "same")).toEqual([]);
});

it("unfolds on request", () => {
  const { within, unfolds } = showText(3);
  const folded = within.querySelector("button")!;
  expect(folded.textContent).toBe(" … 1 words … ");
  perform(() => folded.click());
  expect(unfolds()).toBe(1);
});
