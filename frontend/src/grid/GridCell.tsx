// A cell of the grid: it takes the focus, and opens the drawer.
import type { ComponentChildren } from "preact";
import type { Page } from "../api/pageOfMaps";
import type { StoredMap } from "../api/types";
import { cursor, isHidden } from "../state/interaction";
import { openRow } from "../state/loadExample";
import styles from "./Grid.module.css";

interface CellProps {
  row: number;
  column: number;
  class?: string | undefined;
  /** What a screen reader says instead of the picture. */
  spoken?: string | undefined;
  children: ComponentChildren;
}

export function GridCell({ row, column, class: look = "", spoken, children }: CellProps) {
  const inTabOrder = cursor.value.row === row && cursor.value.column === column;
  const moveCursor = (): void => {
    cursor.value = { row, column };
  };
  return (
    <div
      role="gridcell"
      class={`${styles.cell} ${look}`}
      tabIndex={inTabOrder ? 0 : -1}
      data-cell={`${row},${column}`}
      onFocus={moveCursor}
      onPointerDown={moveCursor}
      onDblClick={() => openRow(row)}
    >
      {spoken && <span class="unseen">{spoken}</span>}
      {children}
    </div>
  );
}

/** The cell of a map, which is not displayed while another column is shown alone. */
export function MapCell(props: {
  row: number;
  column: number;
  gridColumn: number;
  spoken?: string;
  children: ComponentChildren;
}) {
  const { row, column, gridColumn, spoken, children } = props;
  return (
    <GridCell row={row} column={gridColumn} class={isHidden(column) ? styles.hidden : ""} spoken={spoken}>
      {children}
    </GridCell>
  );
}

/** What a screen reader says for a map; its numbers are in the caption and in the drawer. */
export function spokenMap(page: Page, column: number, map: StoredMap | null): string {
  const { title } = page.header.columns[column]!;
  if (map === null) return `${title}: not computed`;
  if (map.error !== undefined) return `${title}: cannot be read`;
  return map.zero ? `${title}: all zero` : title;
}
