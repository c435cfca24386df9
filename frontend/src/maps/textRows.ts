// The words of a text and the values of every column for them, laid out once for each row.
import type { Page } from "../api/pageOfMaps";
import type { Row } from "../api/types";
import { quantileOfAbs } from "./quantiles";
import { jointStrength, layOut, type Word, wordValues } from "./words";

export interface TextRow {
  words: Word[];
  /** For each column, one value a word; empty where there is no map. */
  values: number[][];
  /** How strong each word is in all columns together. */
  strength: number[];
}

const cache = { words: new WeakMap<Row, TextRow>(), pieces: new WeakMap<Row, TextRow>() };

/** A text by whole words, or by the pieces of the tokenizer. */
export function textRow(of: Page, row: Row, pieces: boolean): TextRow {
  const rows = pieces ? cache.pieces : cache.words;
  const cached = rows.get(row);
  if (cached) return cached;
  const words = row.input.modality === "text" ? layOut(row.input.tokens, pieces ? null : row.input.word_ids) : [];
  const values = row.maps.map((map) => (map && "values" in map ? wordValues(words, of.floats(map.values)) : []));
  const laidOut = { words, values, strength: jointStrength(values.filter((v) => v.length > 0)) };
  rows.set(row, laidOut);
  return laidOut;
}

/** The quantile of |value| over the painted words, which do not include the tokenizer's special tokens. */
export function wordQuantile(text: TextRow, column: number, q: number): number {
  return quantileOfAbs(
    text.values[column]!.filter((_, i) => !text.words[i]!.special),
    q,
  );
}
