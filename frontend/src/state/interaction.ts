// What pointer and keyboard do now; none of it is in the address.
import { signal } from "@preact/signals";

export interface Hover {
  x: number;
  y: number;
  value: string;
  lines: string[];
}

/** The tooltip: its text, and where the pointer is. */
export const hover = signal<Hover | null>(null);
/** The cell under the pointer: the legend shows its numbers. */
export const active = signal<{ row: number; column: number } | null>(null);
/** The cell of the grid that is in the tab order. */
export const cursor = signal<{ row: number; column: number }>({ row: 0, column: 0 });
/** True while a key is held to show the inputs instead of the maps. */
export const peek = signal(false);
/** The only column shown, or null for all. */
export const solo = signal<number | null>(null);
export const helpOpen = signal(false);

/** Whether another column is shown alone. */
export const isHidden = (column: number): boolean => solo.value !== null && solo.value !== column;

export function leave(): void {
  hover.value = null;
  active.value = null;
}
