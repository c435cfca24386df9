// How classes and parameters are written.

/** The name of a class, or its number. */
export const className = (unit: number | null, name: string | null): string =>
  name ?? (unit === null ? "–" : `class ${unit}`);

/** Each parameter as `name = value`. */
export const parameterTexts = (parameters: Record<string, unknown>): string[] =>
  Object.entries(parameters).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
