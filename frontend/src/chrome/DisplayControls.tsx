// How maps are drawn: words, smoothing, clip, scale, size.
import type { StoreInfo } from "../api/types";
import { SCOPE_TITLES } from "../maps/clips";
import { hasPictures, hasTexts } from "../maps/partPages";
import { CLIPS, SCOPES, TILE_SIZES } from "../state/address";
import { page } from "../state/loaded";
import { change, scope, view } from "../state/view";
import styles from "./DisplayControls.module.css";
import { Field, Select, Toggle } from "./Fields";

export function DisplayControls({ info }: { info: StoreInfo }) {
  const { pieces, blanks, smooth, clip, tile } = view.value;
  const header = info.modality === "mixed" ? page.value?.page.header : undefined; // which inputs the examples have
  return (
    <>
      {(info.modality === "text" || (header && hasTexts(header))) && (
        <>
          <Toggle
            name="whole words"
            title="sums over the pieces of each word, if the store has word ids"
            checked={!pieces}
            set={(checked) => change({ pieces: !checked })}
          />
          <Toggle
            name="whitespace"
            title="mark spaces and line breaks; the text still copies as plain text"
            checked={blanks}
            set={(checked) => change({ blanks: checked })}
          />
        </>
      )}
      {(info.modality === "image" || (header && hasPictures(header))) && (
        <Toggle
          name="smooth"
          title="interpolate between pixels; a pixel is then no longer a square of its colour"
          checked={smooth}
          set={(checked) => change({ smooth: checked })}
        />
      )}
      <Field name="Clip">
        <Select
          name="Clip"
          value={clip}
          options={CLIPS.map((c) => [c, c] as const)}
          select={(value) => change({ clip: value })}
        />
      </Field>
      <Field name="Scale">
        <Select
          name="Scale"
          value={scope.value}
          options={SCOPES.map((s) => [s, SCOPE_TITLES[s]] as const)}
          select={(value) => change({ scope: value })}
        />
      </Field>
      <div class={styles.sizes} role="radiogroup" aria-label="tile size">
        {TILE_SIZES.map((size, i) => (
          <label key={size} title={`${size} px`}>
            <input
              type="radio"
              name="size"
              checked={tile === size}
              onChange={() => change({ tile: size })}
              aria-label={`${size} pixels`}
            />
            <span style={{ width: `${6 + 3 * i}px`, height: `${6 + 3 * i}px` }} />
          </label>
        ))}
      </div>
    </>
  );
}
