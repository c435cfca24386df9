// Text layout: tokens to words in running text, and folding of long texts around their strongest words.

export interface Word {
  text: string;
  /** Positions of the tokens of this word. */
  tokens: number[];
  /** A special token of the tokenizer, such as [CLS]: shown dim, outside the colour scale. */
  special: boolean;
  spaceBefore: boolean;
}

/** A word, or a number of folded words. */
export type Piece = Word | { folded: number; from: number };

const SPECIAL = /^(\[(CLS|SEP|PAD|MASK)\]|<\/?(s|pad|bos|eos|cls|sep|mask)>|<\|[a-z_]+\|>)$/i;
const SPACE_MARK = /^[▁Ġ]/;
const NO_SPACE_BEFORE = /^([.,;:!?%)\]}’”…]+|n't|'(s|m|d|re|ve|ll|t))$/i;
const NO_SPACE_AFTER = /^[([{“‘]$/;

/** Words in order. Padding (empty tokens) is left out; tokens with the same word id become one word. */
export function layOut(tokens: readonly string[], wordIds: readonly (number | null)[] | null): Word[] {
  const hasSpaceMarks = tokens.some((token) => SPACE_MARK.test(token));
  const words: Word[] = [];
  let lastId: number | null = null;
  let attachNext = true;
  tokens.forEach((token, index) => {
    if (token === "") return;
    const special = SPECIAL.test(token);
    const id = special ? null : (wordIds?.[index] ?? null);
    const isPiece = token.startsWith("##") && token.length > 2;
    const text = isPiece ? token.slice(2) : token.replace(SPACE_MARK, "");
    const last = words[words.length - 1];
    if (last && id !== null && id >= 0 && id === lastId) {
      last.text += text;
      last.tokens.push(index);
    } else {
      const attached =
        isPiece || attachNext || (hasSpaceMarks ? !SPACE_MARK.test(token) && !special : NO_SPACE_BEFORE.test(token));
      words.push({ text, tokens: [index], special, spaceBefore: words.length > 0 && !attached });
    }
    attachNext = NO_SPACE_AFTER.test(token);
    lastId = id;
  });
  return words;
}

/** The value of each word: the sum over its tokens. */
export function wordValues(words: readonly Word[], values: ArrayLike<number>): number[] {
  return words.map((word) => word.tokens.reduce((sum, token) => sum + (values[token] ?? NaN), 0));
}

/** If there are more than `limit` words: the `strongest` ones with their context, and the others folded. */
export function fold(words: readonly Word[], strength: readonly number[], limit: number, strongest = 10): Piece[] {
  if (words.length <= limit) return [...words];
  const context = Math.max(2, Math.floor((limit / strongest - 1) / 2));
  const order = words.map((_, i) => i).filter((i) => !words[i]!.special);
  order.sort((a, b) => (strength[b] || 0) - (strength[a] || 0) || a - b);
  const shown = new Uint8Array(words.length);
  for (const centre of order.slice(0, strongest)) shown.fill(1, Math.max(0, centre - context), centre + context + 1);
  const pieces: Piece[] = [];
  words.forEach((word, i) => {
    const last = pieces[pieces.length - 1];
    if (shown[i]) pieces.push(word);
    else if (last && "folded" in last) last.folded += 1;
    else pieces.push({ folded: 1, from: i });
  });
  return pieces;
}

/** The strength of each word in all columns together: the largest |value| relative to the maximum of its column. */
export function jointStrength(columns: readonly (readonly number[])[]): number[] {
  const strength = new Array<number>(columns[0]?.length ?? 0).fill(0);
  const size = (value: number): number => (Number.isFinite(value) ? Math.abs(value) : 0);
  for (const column of columns) {
    const largest = Math.max(0, ...column.map(size));
    if (largest === 0) continue;
    for (let i = 0; i < column.length; i++) strength[i] = Math.max(strength[i]!, size(column[i]!) / largest);
  }
  return strength;
}
