// The inputs that the values of a tabular example belong to: where each begins, and which are signals.
import type { InputPart, TabularInput } from "../api/types";

export interface InputRange {
  name: string;
  /** [] for a single number. */
  shape: number[];
  start: number;
  size: number;
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The position of each input among the values. */
export function inputRanges(inputs: readonly InputPart[]): InputRange[] {
  let start = 0;
  return inputs.map(({ name, shape }) => {
    const range = { name, shape, start, size: product(shape) };
    start += range.size;
    return range;
  });
}

/** The name of a value: that of its column, of its input if that has one value, or `input[i,j]`; as `value_names` in Python. */
export function featureName({ features, inputs }: TabularInput, index: number): string {
  if (features) return features[index] ?? String(index);
  const range = inputRanges(inputs).find(({ start, size }) => index >= start && index < start + size);
  if (!range) return String(index);
  if (range.size === 1) return range.name;
  let rest = index - range.start;
  const indices = [...range.shape].reverse().map((size) => {
    const position = rest % size;
    rest = Math.floor(rest / size);
    return position;
  });
  return `${range.name}[${indices.reverse().join(",")}]`;
}

/** Inputs with at least this many positions are drawn as a line, shorter ones as bars. */
const SIGNAL_LENGTH = 24;

/** Whether an input is drawn along its positions: [length] or [length, channels]. */
export const isSignal = ({ shape }: InputRange): boolean =>
  (shape.length === 1 || shape.length === 2) && shape[0]! >= SIGNAL_LENGTH;

export interface Signal {
  /** At each position, the sum of the attributions of its channels. */
  attributions: Float32Array;
  /** Input values, [channel][position]. */
  channels: (number | null)[][];
  /** At each position, the channel that is one, or -1; null unless the channels are a one-hot code of four letters. */
  letters: number[] | null;
}

export function signalOf(
  { start, shape }: InputRange,
  values: ArrayLike<number>,
  inputs: readonly (number | null)[],
): Signal {
  const length = shape[0]!;
  const width = shape[1] ?? 1;
  const attributions = new Float32Array(length);
  const channels = Array.from({ length: width }, () => new Array<number | null>(length).fill(null));
  for (let i = 0; i < length; i++)
    for (let c = 0; c < width; c++) {
      attributions[i] = attributions[i]! + values[start + i * width + c]!;
      channels[c]![i] = inputs[start + i * width + c] ?? null;
    }
  return { attributions, channels, letters: width === 4 ? lettersOf(channels, length) : null };
}

function lettersOf(channels: readonly (number | null)[][], length: number): number[] | null {
  const letters: number[] = [];
  for (let i = 0; i < length; i++) {
    const codes = channels.map((channel) => channel[i]);
    const ones = codes.filter((code) => code === 1).length;
    if (ones > 1 || codes.some((code) => code !== 0 && code !== 1)) return null;
    letters.push(codes.indexOf(1));
  }
  return letters;
}

/** The `length` neighbouring positions with the largest sum of |attribution|, as [start, end). */
export function strongestStretch(attributions: Float32Array, length: number): [start: number, end: number] {
  if (attributions.length <= length) return [0, attributions.length];
  const size = (i: number): number => (Number.isFinite(attributions[i]!) ? Math.abs(attributions[i]!) : 0);
  let sum = 0;
  for (let i = 0; i < length; i++) sum += size(i);
  let largest = sum;
  let start = 0;
  for (let i = length; i < attributions.length; i++) {
    sum += size(i) - size(i - length);
    if (sum > largest + 1e-12) {
      largest = sum;
      start = i - length + 1;
    }
  }
  return [start, start + length];
}
