// Every action has a key; nothing is taken from inputs, dialogs or the browser's own shortcuts.
import { cursor } from "./Grid";
import { change, helpOpen, page, peek, turnPage, view } from "./model";
import { CLIPS, SCOPES } from "./quantiles";

const next = <T>(all: readonly T[], one: T): T => all[(all.indexOf(one) + 1) % all.length]!;

function move(rows: number, columns: number): void {
  const header = page.value?.page.header;
  if (!header || header.rows.length === 0) return;
  const last = header.methods.length + (header.kind === "image" ? 1 : 0);
  // The first key takes up the cell that holds the tab stop; only later ones move.
  const held = document.activeElement?.hasAttribute("data-cell") ?? false;
  const { row, column } = cursor.value;
  const to = {
    row: Math.min(header.rows.length - 1, Math.max(0, held ? row + rows : row)),
    column: Math.min(last, Math.max(0, held ? column + columns : column)),
  };
  cursor.value = to;
  const cell = document.querySelector<HTMLElement>(`[data-cell="${to.row},${to.column}"]`);
  cell?.focus({ preventScroll: true });
  cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

const KEYS: Record<string, () => void> = {
  j: () => move(1, 0),
  k: () => move(-1, 0),
  ArrowDown: () => move(1, 0),
  ArrowUp: () => move(-1, 0),
  ArrowRight: () => move(0, 1),
  ArrowLeft: () => move(0, -1),
  n: () => turnPage(1),
  p: () => turnPage(-1),
  c: () => change({ clip: next(CLIPS, view.value.clip) }),
  s: () => change({ scope: next(SCOPES, view.value.scope) }),
  o: () => (peek.value = true),
  "?": () => (helpOpen.value = true),
};

export function watchKeys(): void {
  document.addEventListener("keydown", (event) => {
    const within = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || helpOpen.value) return;
    const typing = within.closest("select, input, textarea");
    if (typing && !(typing as HTMLInputElement).matches("[type=checkbox]")) return;
    const action = KEYS[event.key];
    // Arrows scroll the page until a cell is in hand.
    if (!action || (event.key.startsWith("Arrow") && !within.closest("[data-cell]"))) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === "o") peek.value = false;
  });
  window.addEventListener("blur", () => (peek.value = false));
}
