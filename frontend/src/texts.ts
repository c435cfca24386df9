// The words of a text row and each method's values for them, laid out once per row.
import type { Page } from "./decode";
import { quantileOfAbs } from "./quantiles";
import type { Row } from "./types";
import { jointStrength, layOut, wordValues, type Word } from "./words";

export interface TextRow {
  words: Word[];
  /** Per method, a value for every word; empty where there is no map. */
  values: number[][];
  strength: number[];
}

const known = new WeakMap<Row, TextRow>();

export function textRow(of: Page, row: Row): TextRow {
  let found = known.get(row);
  if (!found) {
    const words = row.input.type === "text" ? layOut(row.input.tokens, row.input.word_ids) : [];
    const values = row.maps.map((map) => (map && "values" in map ? wordValues(words, of.floats(map.values)) : []));
    found = { words, values, strength: jointStrength(values.filter((v) => v.length > 0)) };
    known.set(row, found);
  }
  return found;
}

/** The quantile of |value| over the words that are painted: not over the tokenizer's own markers. */
export function wordQuantile(text: TextRow, method: number, q: number): number {
  return quantileOfAbs(text.values[method]!.filter((_, i) => !text.words[i]!.special), q);
}
