// The maps of one text: the same words in every column, folded and unfolded together.
import { useState } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import type { Row, ValuesMap } from "../api/types";
import { clips } from "../maps/clips";
import { Placeholder, placeholderOf } from "../maps/Placeholder";
import { TextMap } from "../maps/TextMap";
import { textRow } from "../maps/textRows";
import { fold } from "../maps/words";
import { pieces as byPieces, tile } from "../state/view";
import { Caption } from "./Caption";
import { MapCell, spokenMap } from "./GridCell";

/** How many words are shown before a text is folded, by tile size. */
export const WORD_LIMITS: Record<number, number> = { 64: 60, 112: 160, 224: 400 };

export function TextCells({ page, row, index }: { page: Page; row: Row; index: number }) {
  const [unfolded, setUnfolded] = useState(false);
  const { columns } = page.header;
  const { input } = row;
  const { words, values, strength } = textRow(page, row, byPieces.value);
  const pieces = unfolded ? words : fold(words, strength, WORD_LIMITS[tile.value]!);
  return (
    <>
      {row.maps.map((map, m) => {
        const { key, method } = columns[m]!;
        const cell = { row: index, column: m, gridColumn: m + 1 };
        const caption = <Caption page={page} row={index} column={m} map={map} />;
        if (input.modality !== "text")
          return (
            <MapCell key={key} {...cell} spoken={spokenMap(page, m, map)}>
              <Placeholder text="cannot be read" title={input.error !== undefined ? input.error : "not a text"} />
              {caption}
            </MapCell>
          );
        return (
          <MapCell key={key} {...cell}>
            {placeholderOf(map, undefined) ?? (
              <TextMap
                page={page}
                row={index}
                column={m}
                map={map as ValuesMap}
                method={method}
                tokens={input.tokens}
                words={words}
                pieces={pieces}
                values={values[m]!}
                clip={clips.value[index]?.[m] ?? 0}
                unfold={() => setUnfolded(true)}
              />
            )}
            {caption}
          </MapCell>
        );
      })}
    </>
  );
}
