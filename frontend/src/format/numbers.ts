// How numbers are written: true minus signs, three significant digits, a dash where nothing is known.
export const MINUS = "\u2212";
const THIN_SPACE = "\u202f";

const withMinus = (text: string): string => text.replaceAll("-", MINUS);

/** Three significant digits (or `digits`), with an exponent only for very small and very large numbers. */
export function short(value: number | null, digits = 3): string {
  if (value === null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value < 0 ? `${MINUS}∞` : "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e") as [string, string];
    return withMinus(`${mantissa}e${exponent.replace("+", "")}`);
  }
  return withMinus(value.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size)))));
}

/** A value of an input, as people write it: 31, 0.25, 1912; five significant digits where it has a fraction. */
export function plain(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return short(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return withMinus(String(value));
  return size < 1e-3 || size >= 1e9 ? short(value) : withMinus(String(Number(value.toPrecision(5))));
}

/** A value and half of its interval, which has two digits, with the same decimals: 0.875 ± 0.012. */
export function plusMinus(value: number, half: number): string {
  if (!(half > 0) || half < 1e-4 || half >= 1e5) return `${short(value)} ± ${short(half, 2)}`;
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(half)));
  return `${withMinus(value.toFixed(decimals))} ± ${half.toFixed(decimals)}`;
}

/** A number that always has its sign: for values coloured by sign. */
export function withSign(value: number, digits = 4): string {
  return value > 0 ? `+${short(value, digits)}` : short(value, digits);
}

/** A value of a map: with its sign if the method is signed. */
export function attribution(value: number, signed: boolean, digits = 4): string {
  return signed ? withSign(value, digits) : short(value, digits);
}

export function percent(share: number | null, digits = 1): string {
  if (share === null || !Number.isFinite(share)) return "–";
  const value = share * 100;
  return `${value >= 1000 ? short(value) : value.toFixed(value < 99.95 && value !== 0 ? digits : 0)}${THIN_SPACE}%`;
}

/** Two significant digits, without an exponent; what is tiny only has a bound. As the command writes an error of a precision. */
export function shortPercent(share: number | null): string {
  if (share === null || !Number.isFinite(share)) return "–";
  if (share > 0 && share < 1e-5) return `less than 0.001${THIN_SPACE}%`;
  const value = 100 * share;
  return `${value < 99.5 ? Number(value.toPrecision(2)) : count(Math.round(value))}${THIN_SPACE}%`;
}

export const count = (n: number): string => n.toLocaleString("en-US");
