// The exact values of an example as a table: a line for each feature, a column for each map; several inputs one after the other.
import { nameOf, widthOf } from "./features";
import type { ShownPart } from "./shownPart";

type Cell = string | number | null;

export function featureTable(parts: readonly ShownPart[]): { heads: string[]; lines: Cell[][] } {
  const { columns, modality } = parts[0]!.page.header;
  const isPicture = parts.length === 1 && modality === "image";
  const isText = parts.length === 1 && modality === "text";
  const known = [...columns.keys()].filter((m) => parts.some(({ exactMaps }) => exactMaps[m]));
  const heads = isPicture ? ["x", "y"] : [...(parts.length > 1 ? ["input"] : []), isText ? "token" : "feature"];
  const lines = parts.flatMap(({ page, row, exactMaps }) => {
    const width = widthOf(row.maps.find((map) => map));
    const position = (i: number): Cell[] =>
      isPicture ? [i % width, Math.floor(i / width)] : [nameOf(row.input, width, i)];
    const input = page.part && parts.length > 1 ? [page.part.name] : [];
    return Array.from({ length: exactMaps.find((map) => map)?.values.length ?? 0 }, (_, i) => [
      ...input,
      ...position(i),
      ...known.map((m) => exactMaps[m]?.values[i] ?? null), // not all could be loaded
    ]);
  });
  return { heads: [...heads, ...known.map((m) => columns[m]!.title)], lines };
}
