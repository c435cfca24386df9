// Quantiles and ranks of absolute values.

/** The quantile of |values| with linear interpolation, as NumPy's default; 0 if no value is finite. */
export function quantileOfAbs(values: readonly number[], q: number): number {
  const sorted = values
    .filter(Number.isFinite)
    .map(Math.abs)
    .sort((a, b) => a - b);
  if (sorted.length === 0) return 0;
  const position = q * (sorted.length - 1);
  const low = Math.floor(position);
  return sorted[low]! + (position - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}

/** The share of an ascending array that is not larger than a value. */
export function rank(sorted: Float32Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return sorted.length ? low / sorted.length : 0;
}
