// The maps of one picture, large, with one cursor, zoom and blend for all of them.
import { useEffect } from "preact/hooks";
import type { ExactMap } from "../api/requests";
import type { Column, PictureMap } from "../api/types";
import { attribution, percent } from "../format/numbers";
import { rank } from "../maps/quantiles";
import tileStyles from "../maps/Tile.module.css";
import { pictureUrl } from "../state/pageCache";
import { smooth } from "../state/view";
import styles from "./PictureMaps.module.css";
import { blend, cursor, Plate, resetZoom, zoom } from "./Plate";
import type { ShownPart } from "./shownPart";

export function PictureMaps({ page, index, row, exactMaps, clips }: ShownPart) {
  useEffect(() => {
    cursor.value = null;
    resetZoom();
  }, [page, index]);
  const { columns } = page.header;
  const input = pictureUrl(page, index);
  const first = row.maps.find((map): map is PictureMap => map !== null && map.error === undefined && "full" in map);
  if (!first) return null;
  return (
    <section>
      <div class={`${styles.plates} ${smooth.value ? tileStyles.smooth : ""}`}>
        {input && <Plate title="input" full={first.full} input={input} exact={null} clip={0} signed={false} />}
        {columns.map(({ key, title, method, change }, m) => {
          const map = row.maps[m];
          if (!map || map.error !== undefined || change) return null;
          return (
            <Plate
              key={key}
              title={title}
              full={(map as PictureMap).full}
              input={input}
              exact={exactMaps[m] ?? null}
              clip={clips[m]!}
              signed={method.signed}
            />
          );
        })}
      </div>
      <BlendSlider />
      <CursorValues columns={columns} exactMaps={exactMaps} width={first.full[1]} clips={clips} />
    </section>
  );
}

function BlendSlider() {
  const { factor } = zoom.value;
  return (
    <div class={styles.blend}>
      <label class="field">
        <span>input</span>
        <input
          type="range"
          min={0}
          max={1}
          step={0.05}
          value={blend.value}
          aria-label="from input to map"
          onInput={(event) => {
            blend.value = Number(event.currentTarget.value);
          }}
        />
        <span>map</span>
      </label>
      <span class="note">
        {factor > 1 ? `× ${factor.toFixed(1)}, double-click to reset` : "scroll to zoom, drag to pan"}
      </span>
    </div>
  );
}

interface CursorValuesProps {
  columns: readonly Column[];
  exactMaps: readonly (ExactMap | null)[];
  /** Of the maps, in pixels. */
  width: number;
  clips: number[];
}

/** The exact values of all maps at the cursor, and the share of each map below them. */
function CursorValues({ columns, exactMaps, width, clips }: CursorValuesProps) {
  const pixel = cursor.value;
  return (
    <dl class={styles.values} aria-live="off">
      <dt>{pixel ? `x ${pixel.x}, y ${pixel.y}` : "point at a map"}</dt>
      <dd />
      {columns.map(({ title, method }, m) => {
        const exact = exactMaps[m];
        if (!exact) return null;
        const value = pixel ? exact.values[pixel.y * width + pixel.x] : undefined;
        const hasValue = value !== undefined && Number.isFinite(value);
        return (
          <>
            <dt>{title}</dt>
            <dd>
              {value === undefined ? "" : attribution(value, method.signed)}
              {hasValue && (
                <span class="note">
                  {" "}
                  above {percent(rank(exact.sorted, Math.abs(value)), 0)}
                  {Math.abs(value) > clips[m]! ? ", beyond the clip" : ""}
                </span>
              )}
            </dd>
          </>
        );
      })}
    </dl>
  );
}
