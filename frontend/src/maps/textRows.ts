// The words of a text row and each method's values for them, laid out once per row.
import type { Page } from "../api/pageOfMaps";
import type { Row } from "../api/types";
import { quantileOfAbs } from "./clips";
import { jointStrength, layOut, type Word, wordValues } from "./words";

export interface TextRow {
  words: Word[];
  /** Per method, a value for every word; empty where there is no map. */
  values: number[][];
  strength: number[];
}

const known = { words: new WeakMap<Row, TextRow>(), pieces: new WeakMap<Row, TextRow>() };

/** By whole words, or by the pieces that the tokenizer made of them. */
export function textRow(of: Page, row: Row, pieces: boolean): TextRow {
  const kept = pieces ? known.pieces : known.words;
  let found = kept.get(row);
  if (!found) {
    const words = row.input.type === "text" ? layOut(row.input.tokens, pieces ? null : row.input.word_ids) : [];
    const values = row.maps.map((map) => (map && "values" in map ? wordValues(words, of.floats(map.values)) : []));
    found = { words, values, strength: jointStrength(values.filter((v) => v.length > 0)) };
    kept.set(row, found);
  }
  return found;
}

/** The quantile of |value| over the words that are painted: not over the tokenizer's own markers. */
export function wordQuantile(text: TextRow, method: number, q: number): number {
  return quantileOfAbs(
    text.values[method]!.filter((_, i) => !text.words[i]!.special),
    q,
  );
}
