// Text layout: tokens to words in running text, and folding of long texts around their strongest words.

export interface Word {
  text: string;
  /** Token positions this word is made of. */
  tokens: number[];
  /** A marker of the tokenizer, not of the text: shown dim, left out of the colour scale. */
  special: boolean;
  spaceBefore: boolean;
}

export type Piece = Word | { folded: number; from: number };

const SPECIAL = /^(\[(CLS|SEP|PAD|MASK)\]|<\/?(s|pad|bos|eos|cls|sep|mask)>|<\|[a-z_]+\|>)$/i;
const SPACE_MARK = /^[▁Ġ]/;
const CLINGS = /^([.,;:!?%)\]}’”…]+|n't|'(s|m|d|re|ve|ll|t))$/i;
const OPENS = /^[([{“‘]$/;

/** Words in order; padding (empty tokens) is left out, pieces of one word id become one word. */
export function layOut(tokens: readonly string[], wordIds: readonly (number | null)[] | null): Word[] {
  const marked = tokens.some((token) => SPACE_MARK.test(token));
  const words: Word[] = [];
  let lastId: number | null = null;
  let open = true;
  tokens.forEach((token, index) => {
    if (token === "") return;
    const special = SPECIAL.test(token);
    const id = special ? null : (wordIds?.[index] ?? null);
    const piece = token.startsWith("##") && token.length > 2;
    const text = piece ? token.slice(2) : token.replace(SPACE_MARK, "");
    const last = words[words.length - 1];
    if (last && id !== null && id >= 0 && id === lastId) {
      last.text += text;
      last.tokens.push(index);
    } else {
      const clings = piece || open || (marked ? !SPACE_MARK.test(token) && !special : CLINGS.test(token));
      words.push({ text, tokens: [index], special, spaceBefore: words.length > 0 && !clings });
    }
    open = OPENS.test(token);
    lastId = id;
  });
  return words;
}

/** Each word's value: the sum over its tokens. */
export function wordValues(words: readonly Word[], values: ArrayLike<number>): number[] {
  return words.map((word) => word.tokens.reduce((sum, token) => sum + (values[token] ?? NaN), 0));
}

/** Words with all but the surroundings of the ten strongest folded, where there are more than `limit`. */
export function fold(words: readonly Word[], strength: readonly number[], limit: number, strongest = 10): Piece[] {
  if (words.length <= limit) return [...words];
  const context = Math.max(2, Math.floor((limit / strongest - 1) / 2));
  const order = words.map((_, i) => i).filter((i) => !words[i]!.special);
  order.sort((a, b) => (strength[b] || 0) - (strength[a] || 0) || a - b);
  const kept = new Uint8Array(words.length);
  for (const centre of order.slice(0, strongest)) kept.fill(1, Math.max(0, centre - context), centre + context + 1);
  const pieces: Piece[] = [];
  words.forEach((word, i) => {
    const last = pieces[pieces.length - 1];
    if (kept[i]) pieces.push(word);
    else if (last && "folded" in last) last.folded += 1;
    else pieces.push({ folded: 1, from: i });
  });
  return pieces;
}

/** How strong each word is in the eyes of all methods together: the largest |value| relative to each method's own. */
export function jointStrength(columns: readonly (readonly number[])[]): number[] {
  const strength = new Array<number>(columns[0]?.length ?? 0).fill(0);
  for (const column of columns) {
    const largest = column.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0);
    if (largest > 0)
      column.forEach((v, i) => (strength[i] = Math.max(strength[i]!, Number.isFinite(v) ? Math.abs(v) / largest : 0)));
  }
  return strength;
}
