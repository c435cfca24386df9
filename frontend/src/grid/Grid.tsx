// The grid: a row for each example, a column for each map. One cell is in the tab order; the arrow keys move it.
import type { Page } from "../api/pageOfMaps";
import type { PageHeader, PictureMap, Row, StoredMap, ValuesMap } from "../api/types";
import { MapTile } from "../maps/MapTile";
import { Placeholder, placeholderOf } from "../maps/Placeholder";
import { hasPictures } from "../maps/partPages";
import { TabularMap } from "../maps/TabularMap";
import tileStyles from "../maps/Tile.module.css";
import { solo } from "../state/interaction";
import { openRow } from "../state/loadExample";
import { loading } from "../state/loaded";
import { example, smooth, tile } from "../state/view";
import { Caption } from "./Caption";
import { ExampleFacts } from "./ExampleFacts";
import styles from "./Grid.module.css";
import { GridCell, MapCell, spokenMap } from "./GridCell";
import { Header } from "./Header";
import { InputPicture } from "./InputPicture";
import { MixedCells } from "./MixedCells";
import { TextCells } from "./TextCells";

/** The least width of a column of text or bars, by tile size. */
const TEXT_WIDTHS: Record<number, string> = { 64: "220px", 112: "256px", 224: "420px" };

function columnTemplate(header: PageHeader, maps: number): string {
  const side = tile.value;
  const pictures = hasPictures(header) ? `${Math.max(side, 84) + 24}px` : "";
  if (header.modality !== "image")
    return `minmax(208px, 208px) ${pictures} repeat(${maps}, minmax(${TEXT_WIDTHS[side]}, 1fr))`;
  const map = `minmax(${Math.max(side, 124) + 24}px, ${Math.max(side, 148) + 24}px)`;
  return `minmax(208px, 264px) ${pictures} repeat(${maps}, ${map})`;
}

export function Grid({ page }: { page: Page }) {
  const { modality, columns, rows, total } = page.header;
  const look = [
    styles.grid,
    modality === "image" ? "" : styles.fullWidth,
    loading.value ? styles.dim : "",
    smooth.value ? tileStyles.smooth : "",
  ];
  const style = {
    gridTemplateColumns: columnTemplate(page.header, solo.value === null ? columns.length : 1),
    "--tile": `${tile.value}px`,
  };
  return (
    <div class={look.join(" ")} role="grid" aria-rowcount={total + 1} aria-label="Attributions" style={style}>
      <Header page={page} />
      {rows.map((row, i) => (
        <ExampleRow key={row.id} page={page} row={row} index={i} />
      ))}
    </div>
  );
}

function ExampleRow({ page, row, index }: { page: Page; row: Row; index: number }) {
  const { modality, columns, offset } = page.header;
  return (
    // biome-ignore lint/a11y/useFocusableInteractive: the cells have the focus
    <div
      role="row"
      class={`${styles.row} ${example.value === row.id ? styles.opened : ""}`}
      aria-rowindex={offset + index + 2}
      data-misclassified={row.misclassified || undefined}
    >
      <GridCell row={index} column={0} class={styles.example}>
        <ExampleFacts row={row} open={() => openRow(index)} />
      </GridCell>
      {modality === "image" && (
        <GridCell row={index} column={1}>
          <InputPicture page={page} row={row} index={index} />
        </GridCell>
      )}
      {modality === "text" ? (
        <TextCells page={page} row={row} index={index} />
      ) : modality === "mixed" ? (
        <MixedCells page={page} row={row} index={index} />
      ) : (
        row.maps.map((map, m) => (
          <MapCell
            key={columns[m]!.key}
            row={index}
            column={m}
            gridColumn={m + (modality === "image" ? 2 : 1)}
            spoken={spokenMap(page, m, map)}
          >
            <CellMap page={page} row={row} index={index} column={m} map={map} />
            <Caption page={page} row={index} column={m} map={map} />
          </MapCell>
        ))
      )}
    </div>
  );
}

function CellMap(props: { page: Page; row: Row; index: number; column: number; map: StoredMap | null }) {
  const { page, row, index, column, map } = props;
  const isPicture = page.header.modality === "image";
  const placeholder = placeholderOf(map, isPicture ? tile.value : undefined);
  if (placeholder) return <>{placeholder}</>;
  const common = { page, row: index, column, method: page.header.columns[column]!.method };
  if (isPicture) return <MapTile {...common} map={map as PictureMap} />;
  if (row.input.modality === "tabular") return <TabularMap {...common} map={map as ValuesMap} input={row.input} />;
  return <Placeholder text="input cannot be read" title={row.input.error !== undefined ? row.input.error : ""} />;
}
