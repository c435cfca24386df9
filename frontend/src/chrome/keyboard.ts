// Every action has a key; nothing is taken from inputs, dialogs or the browser's own shortcuts.
import { close } from "../drawer/Drawer";
import { cursor } from "../grid/Grid";
import { CLIPS, SCOPES } from "../maps/clips";
import { hostLink } from "../state/host";
import { change, helpOpen, open, page, peek, scope, solo, turnPage, view } from "../state/model";

const next = <T>(all: readonly T[], one: T): T => all[(all.indexOf(one) + 1) % all.length]!;

function move(rows: number, columns: number): void {
  const header = page.value?.page.header;
  if (!header || header.rows.length === 0) return;
  const last = header.columns.length + (header.kind === "image" ? 1 : 0);
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
  if (view.value.example !== null && rows !== 0) change({ example: header.rows[to.row]!.id });
}

/** The next or the previous of the steps there are. */
function step(by: number): void {
  const steps = page.value?.page.header.steps ?? [];
  const at = steps.indexOf(view.value.step ?? steps[steps.length - 1]!);
  const to = steps[at + by];
  if (to !== undefined) change({ step: to });
}

function alone(column: number): void {
  const columns = page.value?.page.header.columns.length ?? 0;
  if (column < columns) solo.value = solo.value === column ? null : column;
}

function to(selector: string): void {
  const input = document.querySelector<HTMLElement>(selector);
  input?.focus();
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
  s: () => change({ scope: next(SCOPES, scope.value) }),
  o: () => (peek.value = true),
  "?": () => (helpOpen.value = true),
  "/": () => to(".filter-input"),
  g: () => to(".go-to"),
  "[": () => step(-1),
  "]": () => step(1),
  y: () => void navigator.clipboard?.writeText(hostLink()).catch(() => undefined),
  Enter: () => open(cursor.value.row),
  Escape: () => view.value.example !== null && close(),
  "0": () => (solo.value = null),
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => [String(n), () => alone(n - 1)])),
};

export function watchKeys(): void {
  document.addEventListener("keydown", (event) => {
    const within = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || helpOpen.value) return;
    const typing = within.closest<HTMLElement>("select, input, textarea");
    if (typing && event.key === "Escape") return typing.blur();
    if (typing && !typing.matches("[type=checkbox], [type=range], [type=radio]")) return;
    const action = KEYS[event.key];
    // Arrows scroll the page until a cell is in hand.
    const inCell = within.closest("[data-cell]") !== null && !within.closest("button");
    if (!action || ((event.key.startsWith("Arrow") || event.key === "Enter") && !inCell)) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === "o") peek.value = false;
  });
  window.addEventListener("blur", () => (peek.value = false));
}
