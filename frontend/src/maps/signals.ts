// Numeric inputs as they were before they became a row of numbers: by the names `input`, `input[i]` and `input[i,j]`.

export interface Group {
  name: string;
  /** [] for one number. */
  shape: number[];
  start: number;
  count: number;
}

const NAME = /^(.*?)\[(\d+(?:,\d+)*)\]$/;
const known = new WeakMap<readonly string[], Group[]>();

/** The inputs that features belong to, in order; their values lie row-major behind one another. */
export function groups(features: readonly string[]): Group[] {
  let found = known.get(features);
  if (found) return found;
  found = [];
  features.forEach((feature, i) => {
    const match = NAME.exec(feature);
    const [name, at] = match ? [match[1]!, match[2]!.split(",").map(Number)] : [feature, []];
    const last = found![found!.length - 1];
    if (last && last.name === name && last.shape.length === at.length && at.length > 0) {
      last.shape = last.shape.map((size, axis) => Math.max(size, at[axis]! + 1));
      last.count += 1;
    } else found!.push({ name, shape: at.map((n) => n + 1), start: i, count: 1 });
  });
  known.set(features, found);
  return found;
}

/** From how many positions on an axis reads better as a line than as bars. */
const LONG = 24;

export const isSignal = (g: Group): boolean =>
  g.shape.length > 0 && g.shape.length < 3 && g.shape[0]! >= LONG && g.count === g.shape.reduce((a, b) => a * b, 1);

export interface Signal {
  /** Per position: the attributions of its channels together. */
  credit: Float32Array;
  /** [channel][position] */
  channels: (number | null)[][];
  /** Per position the channel that is on, of one-hot codes of four letters; null otherwise. */
  letters: number[] | null;
}

export function signalOf(g: Group, values: ArrayLike<number>, inputs: readonly (number | null)[]): Signal {
  const [length, width] = [g.shape[0]!, g.shape[1] ?? 1];
  const credit = new Float32Array(length);
  const channels = Array.from({ length: width }, () => new Array<number | null>(length).fill(null));
  for (let i = 0; i < length; i++)
    for (let c = 0; c < width; c++) {
      credit[i] = credit[i]! + values[g.start + i * width + c]!;
      channels[c]![i] = inputs[g.start + i * width + c] ?? null;
    }
  const on = (i: number): number[] => channels.flatMap((values, c) => (values[i] === 1 ? [c] : []));
  const oneHot =
    width === 4 &&
    Array.from({ length }, (_, i) => i).every(
      (i) => on(i).length <= 1 && channels.every((v) => v[i] === 0 || v[i] === 1),
    );
  return { credit, channels, letters: oneHot ? Array.from({ length }, (_, i) => on(i)[0] ?? -1) : null };
}

/** The stretch of at most `most` positions that holds the most |attribution|. */
export function strongest(credit: Float32Array, most: number): [start: number, end: number] {
  if (credit.length <= most) return [0, credit.length];
  const size = (i: number): number => (Number.isFinite(credit[i]!) ? Math.abs(credit[i]!) : 0);
  let sum = 0;
  for (let i = 0; i < most; i++) sum += size(i);
  let [best, at] = [sum, 0];
  for (let i = most; i < credit.length; i++) {
    sum += size(i) - size(i - most);
    if (sum > best + 1e-12) [best, at] = [sum, i - most + 1];
  }
  return [at, at + most];
}
