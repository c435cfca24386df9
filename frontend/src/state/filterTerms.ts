// The filter as text: split into terms only to show and remove them; the server parses it.

/** The terms of a filter: parts between spaces that are not inside quotation marks. */
export function terms(filter: string): string[] {
  return filter.match(/(?:"(?:[^"\\]|\\.)*"?|[^\s"])+/g) ?? [];
}

/** A value as a filter term holds it, quoted if necessary. */
export function quote(value: string): string {
  return /^[^\s,"!*\\]+$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}

export const withoutTerm = (filter: string, index: number): string =>
  terms(filter)
    .filter((_, i) => i !== index)
    .join(" ");
