// The names of an example's features, of any modality.
import type { Input, StoredMap } from "../api/types";
import { featureName } from "../maps/inputParts";

/** The name of a feature; `width` is that of a picture's maps. */
export function nameOf(input: Input, width: number, index: number): string {
  if (input.modality === "text") return input.tokens[index] || "(padding)";
  if (input.modality === "tabular") return featureName(input, index);
  return `x ${index % width}, y ${Math.floor(index / width)}`;
}

/** The width of a picture's map in pixels; 1 of other maps. */
export function widthOf(map: StoredMap | null | undefined): number {
  return map && map.error === undefined && "full" in map ? map.full[1] : 1;
}
