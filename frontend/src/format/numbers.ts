// How numbers are written: true minus signs, three significant digits, nothing where nothing is known.
const MINUS = "\u2212";
const THIN = "\u202f";

const sign = (text: string): string => text.replace("-", MINUS);

/** Three significant digits (or `digits`), without needless exponents. */
export function short(value: number | null, digits = 3): string {
  if (value === null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value < 0 ? `${MINUS}∞` : "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e") as [string, string];
    return sign(`${mantissa}e${exponent.replace("+", "")}`);
  }
  return sign(value.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size)))));
}

/** A value and half of its interval, of which two digits count, with the same decimals: 0.875 ± 0.012. */
export function plusMinus(value: number, half: number): string {
  if (!(half > 0) || half < 1e-4 || half >= 1e5) return `${short(value)} ± ${short(half, 2)}`;
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(half)));
  return `${sign(value.toFixed(decimals))} ± ${half.toFixed(decimals)}`;
}

/** With its sign, always: for values that colour by sign. */
export function withSign(value: number, digits = 4): string {
  return value > 0 ? `+${short(value, digits)}` : short(value, digits);
}

export function percent(share: number | null, digits = 1): string {
  if (share === null || !Number.isFinite(share)) return "–";
  const value = share * 100;
  return `${value >= 1000 ? short(value) : value.toFixed(value < 99.95 && value !== 0 ? digits : 0)}${THIN}%`;
}

export const count = (n: number): string => n.toLocaleString("en-US");
