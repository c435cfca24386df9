// The one tooltip of the page: what it says and where it stands.
import { signal } from "@preact/signals";

export interface Hover {
  x: number;
  y: number;
  value: string;
  lines: string[];
}

export const hover = signal<Hover | null>(null);
/** The cell under the pointer or the keyboard: its numbers stand at the ends of the legend. */
export const active = signal<{ row: number; column: number } | null>(null);
