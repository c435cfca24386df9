// The grid: a row an example, a column a method; one cell is in the tab order and the arrow keys move it.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import type { Kind, Line, Picture, Row, StoredMap } from "../api/types";
import { BarsMap } from "../maps/BarsMap";
import { MapTile } from "../maps/MapTile";
import { TextMap } from "../maps/TextMap";
import { textRow } from "../maps/textRows";
import { fold } from "../maps/words";
import { pieces as byPieces, clips, example, loading, open, pictureUrl, smooth, solo, tile } from "../state/model";
import { Caption, State, standIn } from "./Caption";
import { ExampleCell } from "./ExampleCell";
import { Header, hidden } from "./Header";

export const cursor = signal<{ row: number; column: number }>({ row: 0, column: 0 });

const TEXT_WIDTH: Record<number, string> = { 64: "220px", 112: "256px", 224: "420px" };
const TEXT_LIMIT: Record<number, number> = { 64: 60, 112: 160, 224: 400 };

function template(kind: Kind, methods: number): string {
  const side = tile.value;
  const map =
    kind === "image"
      ? `minmax(${Math.max(side, 124) + 24}px, ${Math.max(side, 148) + 24}px)`
      : `minmax(${TEXT_WIDTH[side]}, 1fr)`;
  const input = kind === "image" ? `${Math.max(side, 84) + 24}px ` : "";
  return `minmax(208px, ${kind === "image" ? "264px" : "208px"}) ${input}repeat(${methods}, ${map})`;
}

export function Grid({ of }: { of: Page }) {
  const { kind, columns, rows, total } = of.header;
  const style = {
    gridTemplateColumns: template(kind, solo.value === null ? columns.length : 1),
    "--tile": `${tile.value}px`,
  };
  return (
    <div
      class={`grid ${kind} ${loading.value ? "dim" : ""} ${smooth.value ? "smooth" : ""}`}
      role="grid"
      aria-rowcount={total + 1}
      aria-label="Attributions"
      style={style}
    >
      <Header of={of} />
      {rows.map((row, i) => (
        <RowView key={row.id} of={of} row={row} at={i} />
      ))}
    </div>
  );
}

function GridCell(props: {
  row: number;
  column: number;
  class: string;
  spoken?: string | undefined;
  children: ComponentChildren;
}) {
  const here = { row: props.row, column: props.column };
  const mine = cursor.value.row === here.row && cursor.value.column === here.column;
  return (
    <div
      role="gridcell"
      class={`cell ${props.class}`}
      tabIndex={mine ? 0 : -1}
      data-cell={`${here.row},${here.column}`}
      onFocus={() => (cursor.value = here)}
      onPointerDown={() => (cursor.value = here)}
      onDblClick={() => open(props.row)}
    >
      {props.spoken && <span class="unseen">{props.spoken}</span>}
      {props.children}
    </div>
  );
}

function RowView({ of, row, at }: { of: Page; row: Row; at: number }) {
  const { kind, columns } = of.header;
  const picture = kind === "image";
  const draw = kind === "text" ? <TextCells of={of} row={row} at={at} /> : null;
  return (
    <div
      role="row"
      class={`row ${row.misclassified ? "wrong" : ""} ${example.value === row.id ? "opened" : ""}`}
      aria-rowindex={of.header.offset + at + 2}
    >
      <GridCell row={at} column={0} class="example">
        <ExampleCell row={row} open={() => open(at)} />
      </GridCell>
      {picture && (
        <GridCell row={at} column={1} class="input">
          <InputPicture of={of} row={row} at={at} />
        </GridCell>
      )}
      {draw ??
        row.maps.map((map, m) => (
          <GridCell
            key={columns[m]!.key}
            row={at}
            column={m + (picture ? 2 : 1)}
            class={`map ${hidden(m) ? "hidden" : ""}`}
            spoken={spoken(of, m, map)}
          >
            {standIn(map, picture ? tile.value : undefined) ??
              (picture ? (
                <MapTile of={of} row={at} column={m} map={map as Picture} method={columns[m]!.method} />
              ) : row.input.type === "tabular" ? (
                <BarsMap
                  of={of}
                  row={at}
                  column={m}
                  map={map as Line}
                  method={columns[m]!.method}
                  features={row.input.features}
                  inputs={row.input.values}
                />
              ) : (
                <State text="input cannot be read" title={row.input.type === undefined ? row.input.error : ""} />
              ))}
            <Caption of={of} row={at} column={m} map={map} />
          </GridCell>
        ))}
    </div>
  );
}

function InputPicture({ of, row, at }: { of: Page; row: Row; at: number }) {
  const url = pictureUrl(of, at);
  const input = row.input;
  if (input.type === undefined) return <State text="cannot be read" title={input.error} size={tile.value} />;
  if (url === null || !("full" in input)) return <State text="—" size={tile.value} />;
  const [height, width] = input.full;
  const longest = Math.max(height, width);
  const size = { width: `${(tile.value * width) / longest}px`, height: `${(tile.value * height) / longest}px` };
  return (
    <>
      <div class="tile" style={size}>
        <img src={url} alt={`example ${row.id}`} draggable={false} />
      </div>
      <div class="caption">
        <span>
          {width} × {height}
        </span>
      </div>
    </>
  );
}

function TextCells({ of, row, at }: { of: Page; row: Row; at: number }) {
  const [open, setOpen] = useState(false);
  const { columns } = of.header;
  const input = row.input;
  const tokens = input.type === "text" ? input.tokens : [];
  const { words, values, strength } = textRow(of, row, byPieces.value);
  const pieces = open ? words : fold(words, strength, TEXT_LIMIT[tile.value]!);
  return (
    <>
      {row.maps.map((map, m) => (
        <GridCell
          key={columns[m]!.key}
          row={at}
          column={m + 1}
          class={`map ${hidden(m) ? "hidden" : ""}`}
          spoken={input.type === "text" ? undefined : spoken(of, m, map)}
        >
          {input.type !== "text" ? (
            <State text="cannot be read" title={input.type === undefined ? input.error : "not a text"} />
          ) : (
            (standIn(map, undefined) ?? (
              <TextMap
                of={of}
                row={at}
                column={m}
                map={map as Line}
                method={columns[m]!.method}
                tokens={tokens}
                words={words}
                pieces={pieces}
                values={values[m]!}
                clip={clips.value[at]?.[m] ?? 0}
                unfold={() => setOpen(true)}
              />
            ))
          )}
          <Caption of={of} row={at} column={m} map={map} />
        </GridCell>
      ))}
    </>
  );
}

/** What stands for the picture of a map for those who do not see it; its numbers are in the caption and in the drawer. */
function spoken(of: Page, column: number, map: StoredMap | null): string {
  const { title } = of.header.columns[column]!;
  if (map === null) return `${title}: not computed`;
  if (map.error !== undefined) return `${title}: cannot be read`;
  return map.zero ? `${title}: all zero` : title;
}
