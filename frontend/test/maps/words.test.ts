// Tokens to running text: spaces, pieces, padding, markers, folding.
import { describe, expect, it } from "vitest";
import { fold, jointStrength, layOut, type Word, wordValues } from "../../src/maps/words";

const written = (words: Word[]): string => words.map((w) => (w.spaceBefore ? " " : "") + w.text).join("");

describe("layOut", () => {
  it("leaves padding out and keeps positions", () => {
    const words = layOut(["a", "", "b", "", ""], null);
    expect(words.map((w) => w.tokens)).toEqual([[0], [2]]);
  });
  it("sets punctuation as a person would", () => {
    expect(written(layOut(["not", "bad", ",", "(", "really", ")", "is", "n't", "it", "?"], null))).toBe(
      "not bad, (really) isn't it?",
    );
  });
  it("joins pieces of one word id and sums them", () => {
    const words = layOut(["[CLS]", "un", "##believ", "##able", "good", "[SEP]"], [-1, 0, 0, 0, 1, -1]);
    expect(words.map((w) => w.text)).toEqual(["[CLS]", "unbelievable", "good", "[SEP]"]);
    expect(words.map((w) => w.special)).toEqual([true, false, false, true]);
    expect(wordValues(words, [9, 1, 2, -0.5, 4, 9])).toEqual([9, 2.5, 4, 9]);
  });
  it("does not join special tokens that share an id", () => {
    expect(layOut(["[CLS]", "[SEP]"], [-1, -1])).toHaveLength(2);
    expect(layOut(["[CLS]", "a"], [0, 0])).toHaveLength(2);
    expect(layOut(["a", "b"], [null, null])).toHaveLength(2);
  });
  it("keeps unmarked pieces together without word ids", () => {
    expect(written(layOut(["un", "##do", "it"], null))).toBe("undo it");
    expect(written(layOut(["▁un", "do", "▁it", "!"], null))).toBe("undo it!");
    expect(written(layOut(["The", "Ġdog", "gy"], null))).toBe("The doggy");
  });
  it("knows an unknown word for a word", () => {
    expect(layOut(["[UNK]"], null)[0]!.special).toBe(false);
  });
});

describe("fold", () => {
  const words = layOut(
    Array.from({ length: 500 }, (_, i) => `w${i}`),
    null,
  );
  const strength = words.map((_, i) => (i % 50 === 7 ? 1 : 0));
  it("leaves short texts alone", () => {
    expect(fold(words.slice(0, 60), strength, 60)).toHaveLength(60);
  });
  it("keeps the strongest words with their surroundings and counts the rest", () => {
    const pieces = fold(words, strength, 60);
    const shown = pieces.filter((p): p is Word => !("folded" in p));
    const folded = pieces.reduce((n, p) => n + ("folded" in p ? p.folded : 0), 0);
    expect(shown.length + folded).toBe(500);
    expect(shown.length).toBeLessThanOrEqual(60);
    for (let i = 7; i < 500; i += 50) expect(shown).toContain(words[i]);
    expect(shown).toContain(words[5]);
    expect(shown).toContain(words[9]);
  });
  it("survives values that are not finite", () => {
    expect(
      jointStrength([
        [NaN, 1, -2],
        [0, 0, 0],
      ]),
    ).toEqual([0, 0.5, 1]);
  });
});
