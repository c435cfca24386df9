// The filter as the page handles it: text, cut into terms only to show and remove them; what they mean is the server's.

/** The terms of a filter: parts between blanks that are not inside quotation marks. */
export function terms(filter: string): string[] {
  return filter.match(/(?:"(?:[^"\\]|\\.)*"?|[^\s"])+/g) ?? [];
}

/** A value as a filter can hold it: quoted where it has to be. */
export function quote(value: string): string {
  return /^[^\s,"!*\\]+$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}

export const without = (filter: string, at: number): string =>
  terms(filter)
    .filter((_, i) => i !== at)
    .join(" ");
