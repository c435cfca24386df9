// The filter as text: split into terms only to show and remove them; the server parses it.

/** The terms of a filter: parts between spaces that are not inside quotation marks. */
export function terms(filter: string): string[] {
  return filter.match(/(?:"(?:[^"\\]|\\.)*"?|[^\s"])+/g) ?? [];
}

/** A value as a filter term holds it, quoted if necessary. */
export function quote(value: string): string {
  return /^[^\s,"!*\\]+$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}

/** A field as a filter term begins with it: names with other characters than letters, digits and dots are quoted. */
export function fieldText(field: string): string {
  return /^[\p{L}_][\p{L}\p{N}_]*(\.[\p{L}\p{N}_]+)*$/u.test(field) ? field : `"${field}"`;
}

/** Whether a term is a condition on a field. */
export function isOn(term: string, field: string): boolean {
  const [text, name] = [term.replace(/^-/, ""), fieldText(field)];
  return text.startsWith(name) && /^[:=<>]/.test(text.slice(name.length));
}

/** The term that a value of a slice feature meets. */
export const sliceTerm = (field: string, value: string | number): string =>
  `${fieldText(field)}:${typeof value === "number" ? value : quote(value)}`;

export const withoutTerm = (filter: string, index: number): string =>
  terms(filter)
    .filter((_, i) => i !== index)
    .join(" ");
