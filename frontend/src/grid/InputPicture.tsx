// The picture of an example, beside its maps.
import type { Page } from "../api/pageOfMaps";
import type { Row } from "../api/types";
import { tileSize } from "../maps/MapTile";
import { Placeholder } from "../maps/Placeholder";
import tileStyles from "../maps/Tile.module.css";
import { pictureUrl } from "../state/pageCache";
import { tile } from "../state/view";
import captionStyles from "./Caption.module.css";

export function InputPicture({ page, row, index }: { page: Page; row: Row; index: number }) {
  const url = pictureUrl(page, index);
  const { input } = row;
  if (input.error !== undefined) return <Placeholder text="cannot be read" title={input.error} size={tile.value} />;
  if (url === null || !("full" in input)) return <Placeholder text="—" size={tile.value} />;
  const [height, width] = input.full;
  return (
    <>
      <div class={tileStyles.tile} style={tileSize(input.full, tile.value)}>
        <img src={url} alt={`example ${row.id}`} draggable={false} />
      </div>
      <div class={captionStyles.caption}>
        <span>
          {width} × {height}
        </span>
      </div>
    </>
  );
}
