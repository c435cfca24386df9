// What a cell shows where there is no map to draw, and why.
import type { ComponentChildren } from "preact";
import type { StoredMap } from "../api/types";
import styles from "./Placeholder.module.css";

interface Props {
  text: string;
  title?: string | undefined;
  hatched?: boolean;
  /** Side of the square, in pixels. */
  size?: number | undefined;
}

export function Placeholder({ text, hatched, title, size }: Props) {
  const side = size ? { width: `${size}px`, height: `${size}px` } : {};
  return (
    <div class={`${styles.placeholder} ${hatched ? styles.hatched : ""}`} title={title} style={side}>
      <span>{text}</span>
    </div>
  );
}

/** The placeholder of a map, or null if the map can be drawn. */
export function placeholderOf(map: StoredMap | null, size: number | undefined): ComponentChildren | null {
  if (map === null) return <Placeholder text="—" title="not computed" size={size} />;
  if (map.error !== undefined) return <Placeholder text="cannot be read" title={map.error} size={size} />;
  if (map.zero) return <Placeholder text="all zero" hatched size={size} />;
  if ("parts" in map) return null; // each part has its own
  const length = "full" in map ? map.full[0] * map.full[1] : map.length;
  const nothingFinite = map.not_finite > 0 && map.scale === 0 && map.not_finite >= length;
  const title = "no value is a number; the warnings of the map say why";
  return nothingFinite ? <Placeholder text="NaN" title={title} hatched size={size} /> : null;
}
