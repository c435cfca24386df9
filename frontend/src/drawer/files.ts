// Values as files: NumPy's .npy, and CSV.

/** A float32 array of this shape as a .npy file, version 1.0. */
export function npy(values: Float32Array<ArrayBuffer>, shape: readonly number[]): Blob {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const head = new Uint8Array(10 + length);
  head.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 255, length >> 8]); // \x93NUMPY 1.0
  head.set(new TextEncoder().encode(`${text.padEnd(length - 1)}\n`), 10);
  return new Blob([head, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)]);
}

/** A cell that spreadsheets read as a value and never as a formula, quoted if necessary. */
export function cell(value: string | number | null): string {
  if (value === null) return "";
  if (typeof value === "number") return Number.isNaN(value) ? "nan" : String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

export function csv(heads: readonly string[], rows: Iterable<readonly (string | number | null)[]>): Blob {
  const lines = [heads.map(cell).join(",")];
  for (const row of rows) lines.push(row.map(cell).join(","));
  return new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" });
}

const REVOKE_AFTER_MS = 10_000;

/** Download a file. */
export function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name.replace(/[^\w.-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKE_AFTER_MS);
}
