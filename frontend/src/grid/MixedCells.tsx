// The maps of an example with several inputs: in each column one map for each input, below its name.
import { useState } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import type { PictureMap, Row, ValuesMap } from "../api/types";
import { percent, short } from "../format/numbers";
import { shownClips } from "../maps/clips";
import { MapTile } from "../maps/MapTile";
import { Placeholder, placeholderOf } from "../maps/Placeholder";
import { contribution, hasPictures, partPages } from "../maps/partPages";
import { TabularMap } from "../maps/TabularMap";
import { TextMap } from "../maps/TextMap";
import { textRow } from "../maps/textRows";
import { fold } from "../maps/words";
import { pieces as byPieces, tile } from "../state/view";
import { Caption } from "./Caption";
import { GridCell, MapCell, spokenMap } from "./GridCell";
import { InputPicture } from "./InputPicture";
import styles from "./MixedCells.module.css";
import { WORD_LIMITS } from "./TextCells";

export function MixedCells({ page, row, index }: { page: Page; row: Row; index: number }) {
  const [unfolded, setUnfolded] = useState(false);
  const parts = partPages(page);
  const pictures = hasPictures(page.header);
  return (
    <>
      {pictures && (
        <GridCell row={index} column={1}>
          {parts
            .filter((part) => part.header.modality === "image")
            .map((part) => (
              <div key={part.part!.name} class={styles.part}>
                <div class={styles.name}>{part.part!.name}</div>
                <InputPicture page={part} row={part.header.rows[index]!} index={index} />
              </div>
            ))}
        </GridCell>
      )}
      {row.maps.map((map, m) => (
        <MapCell
          key={page.header.columns[m]!.key}
          row={index}
          column={m}
          gridColumn={m + (pictures ? 2 : 1)}
          spoken={spokenMap(page, m, map)}
        >
          {map === null || map.error !== undefined
            ? placeholderOf(map, undefined)
            : parts.map((part) => (
                <section key={part.part!.name} class={styles.part}>
                  <PartName page={part} row={index} column={m} share={contribution(map, part.part!.inputs).share} />
                  <PartMap page={part} row={index} column={m} unfolded={unfolded} unfold={() => setUnfolded(true)} />
                </section>
              ))}
          <Caption page={page} row={index} column={m} map={map} />
        </MapCell>
      ))}
    </>
  );
}

/** The name of an input, its share in the map, and the end of its colours. */
function PartName(props: { page: Page; row: number; column: number; share: number | null }) {
  const { page, row, column, share } = props;
  const { signed } = page.header.columns[column]!.method;
  const clip = shownClips(page).value[row]?.[column] ?? 0;
  return (
    <div class={styles.name}>
      {page.part!.name}
      {share !== null && (
        <span class={styles.number} title="of the sum of |a| over all inputs">
          {percent(share, share < 0.1 ? 1 : 0)}
        </span>
      )}
      <span class={styles.number} hidden={clip === 0} title={`colours end at ${signed ? "±" : ""}${short(clip)}`}>
        {signed ? "±" : "≤ "}
        {short(clip)}
      </span>
    </div>
  );
}

interface PartMapProps {
  /** Of one input. */
  page: Page;
  row: number;
  column: number;
  unfolded: boolean;
  unfold: () => void;
}

function PartMap({ page, row, column, unfolded, unfold }: PartMapProps) {
  const ofRow = page.header.rows[row]!;
  const { input } = ofRow;
  const map = ofRow.maps[column] ?? null;
  const placeholder = placeholderOf(map, input.modality === "image" ? tile.value : undefined);
  if (placeholder) return <>{placeholder}</>;
  const common = { page, row, column, method: page.header.columns[column]!.method };
  if (input.modality === "image") return <MapTile {...common} map={map as PictureMap} />;
  if (input.modality === "tabular") return <TabularMap {...common} map={map as ValuesMap} input={input} />;
  if (input.modality !== "text")
    return <Placeholder text="input cannot be read" title={input.error !== undefined ? input.error : ""} />;
  const { words, values, strength } = textRow(page, ofRow, byPieces.value);
  return (
    <TextMap
      {...common}
      map={map as ValuesMap}
      tokens={input.tokens}
      words={words}
      pieces={unfolded ? words : fold(words, strength, WORD_LIMITS[tile.value]!)}
      values={values[column]!}
      clip={shownClips(page).value[row]?.[column] ?? 0}
      unfold={unfold}
    />
  );
}
