// The keys. Keys typed into a field, pressed in a dialog or with Ctrl, Alt or Meta stay the browser's.
import { hasPictures } from "../maps/partPages";
import { CLIPS, SCOPES } from "../state/address";
import { hostLink } from "../state/host";
import { cursor, helpOpen, peek, solo } from "../state/interaction";
import { openRow } from "../state/loadExample";
import { page } from "../state/loaded";
import { turnPage } from "../state/loadPages";
import { change, closeDrawer, scope, view } from "../state/view";

const nextOf = <T>(options: readonly T[], option: T): T => options[(options.indexOf(option) + 1) % options.length]!;

const clamp = (index: number, last: number): number => Math.min(last, Math.max(0, index));

function moveCursor(rows: number, columns: number): void {
  const header = page.value?.page.header;
  if (!header || header.rows.length === 0) return;
  // The first key only focuses the cell in the tab order; later ones move.
  const hasFocus = document.activeElement?.hasAttribute("data-cell") ?? false;
  const lastColumn = header.columns.length + (hasPictures(header) ? 1 : 0);
  const row = clamp(cursor.value.row + (hasFocus ? rows : 0), header.rows.length - 1);
  const column = clamp(cursor.value.column + (hasFocus ? columns : 0), lastColumn);
  cursor.value = { row, column };
  const cell = document.querySelector<HTMLElement>(`[data-cell="${row},${column}"]`);
  cell?.focus({ preventScroll: true });
  cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (view.value.example !== null && rows !== 0) change({ example: header.rows[row]!.id });
}

function changeStep(by: number): void {
  const steps = page.value?.page.header.steps ?? [];
  const index = steps.indexOf(view.value.step ?? steps[steps.length - 1]!);
  const step = steps[index + by];
  if (step !== undefined) change({ step });
}

function toggleSolo(column: number): void {
  const columns = page.value?.page.header.columns.length ?? 0;
  if (column < columns) solo.value = solo.value === column ? null : column;
}

/** Focus the field that a key stands for. */
const focusField = (key: string): void => document.querySelector<HTMLElement>(`[data-key="${key}"]`)?.focus();

const ACTIONS: Record<string, () => void> = {
  j: () => moveCursor(1, 0),
  k: () => moveCursor(-1, 0),
  ArrowDown: () => moveCursor(1, 0),
  ArrowUp: () => moveCursor(-1, 0),
  ArrowRight: () => moveCursor(0, 1),
  ArrowLeft: () => moveCursor(0, -1),
  n: () => turnPage(1),
  p: () => turnPage(-1),
  c: () => change({ clip: nextOf(CLIPS, view.value.clip) }),
  s: () => change({ scope: nextOf(SCOPES, scope.value) }),
  o: () => {
    peek.value = true;
  },
  "?": () => {
    helpOpen.value = true;
  },
  "/": () => focusField("/"),
  g: () => focusField("g"),
  "[": () => changeStep(-1),
  "]": () => changeStep(1),
  y: () => void navigator.clipboard?.writeText(hostLink()).catch(() => undefined),
  Enter: () => openRow(cursor.value.row),
  Escape: () => view.value.example !== null && closeDrawer(),
  "0": () => {
    solo.value = null;
  },
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => [String(n), () => toggleSolo(n - 1)])),
};

export function watchKeys(): void {
  const endPeek = (): void => {
    peek.value = false;
  };
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || helpOpen.value) return;
    const field = target.closest<HTMLElement>("select, input, textarea");
    if (field && event.key === "Escape") return field.blur();
    if (field && !field.matches("[type=checkbox], [type=range], [type=radio]")) return;
    const action = ACTIONS[event.key];
    // Outside the cells, arrow keys scroll the page and Enter presses buttons.
    const isInCell = target.closest("[data-cell]") !== null && !target.closest("button");
    if (!action || ((event.key.startsWith("Arrow") || event.key === "Enter") && !isInCell)) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === "o") endPeek();
  });
  window.addEventListener("blur", endPeek);
}
