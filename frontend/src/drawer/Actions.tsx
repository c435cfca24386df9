// What can be taken away from an example: a link, a picture of its maps, their values as CSV and NPY.
import { useState } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import type { ExactMap } from "../api/requests";
import type { PictureMap, Row } from "../api/types";
import { className } from "../format/names";
import { count } from "../format/numbers";
import { pixels } from "../maps/pixels";
import { hostLink } from "../state/host";
import { pictureUrl } from "../state/pageCache";
import { view } from "../state/view";
import styles from "./Drawer.module.css";
import { nameOf, widthOf } from "./features";
import { csv, npy, save } from "./files";
import { type Plate, sheet } from "./sheet";

const PLATE_SIDE = 256;
const MESSAGE_MS = 2000;

interface Props {
  page: Page;
  index: number;
  row: Row;
  exactMaps: readonly (ExactMap | null)[];
  clips: number[];
}

export function Actions(props: Props) {
  const { page, row, exactMaps } = props;
  const isPicture = page.header.modality === "image";
  const isReady = exactMaps.some((map) => map);
  const name = `${view.value.run}_${row.id}`;
  return (
    <div class={styles.actions}>
      <CopyLink />
      {isPicture && (
        <button
          type="button"
          disabled={!isReady}
          onClick={() => void savePicture(props, name)}
          title="the maps with their legends, as one picture"
        >
          PNG
        </button>
      )}
      <button
        type="button"
        disabled={!isReady}
        onClick={() => saveTable(props, name)}
        title={`the exact values, ${isPicture ? "a line for each pixel" : "a line for each feature"}`}
      >
        CSV
      </button>
      <button
        type="button"
        disabled={!isReady}
        onClick={() => saveArrays(props, name)}
        title={`float32 arrays, a file for each of ${count(exactMaps.filter((map) => map).length)} maps`}
      >
        NPY
      </button>
    </div>
  );
}

function CopyLink() {
  const [message, setMessage] = useState("");
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(hostLink()).then(
      () => setMessage("copied"),
      () => setMessage("not allowed by the browser"),
    );
    setTimeout(() => setMessage(""), MESSAGE_MS);
  };
  return (
    <button type="button" onClick={() => void copy()} title="a link to exactly this view (y)">
      {message || "Copy link"}
    </button>
  );
}

/** A line for each feature, a column for each map. */
function saveTable({ page, row, exactMaps }: Props, name: string): void {
  const { columns, modality } = page.header;
  const maps = columns.flatMap(({ title }, m) => (exactMaps[m] ? [{ title, values: exactMaps[m].values }] : []));
  const width = widthOf(row.maps.find((map) => map));
  const isPicture = modality === "image";
  const heads = isPicture ? ["x", "y"] : [modality === "text" ? "token" : "feature"];
  const position = (i: number): (string | number)[] =>
    isPicture ? [i % width, Math.floor(i / width)] : [nameOf(row.input, 1, i)];
  const lines = Array.from({ length: maps[0]!.values.length }, (_, i) => [
    ...position(i),
    ...maps.map(({ values }) => values[i] ?? null),
  ]);
  save(`${name}.csv`, csv([...heads, ...maps.map(({ title }) => title)], lines));
}

/** A file for each map. */
function saveArrays({ page, row, exactMaps }: Props, name: string): void {
  page.header.columns.forEach(({ key }, m) => {
    const map = row.maps[m];
    const values = exactMaps[m]?.values;
    if (map && values) save(`${name}_${key}.npy`, npy(values, "full" in map ? map.full : [values.length]));
  });
}

/** The input and all maps with their legends, as one picture. */
async function savePicture({ page, index, row, exactMaps, clips }: Props, name: string): Promise<void> {
  const plates: Plate[] = [];
  const source = pictureUrl(page, index);
  if (source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    plates.push({ title: "input", picture: image, shape: [image.naturalHeight, image.naturalWidth], legend: null });
  }
  page.header.columns.forEach(({ title, method }, m) => {
    const values = exactMaps[m]?.values;
    if (!values) return;
    const [height, width] = (row.maps[m] as PictureMap).full;
    const legend = { clip: clips[m]!, signed: method.signed };
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const image = new ImageData(pixels(values, legend.clip, legend.signed), width, height);
    canvas.getContext("2d")!.putImageData(image, 0, 0);
    plates.push({ title, picture: canvas, shape: [height, width], legend });
  });
  const explained = row.maps.find((map) => map)?.target_name ?? "";
  const predicted = className(row.predicted, row.predicted_name);
  const caption = `${view.value.run} · ${row.id} · predicted ${predicted} · explains ${explained}`;
  sheet(caption, plates, PLATE_SIDE).toBlob((blob) => blob && save(`${name}.png`, blob), "image/png");
}
