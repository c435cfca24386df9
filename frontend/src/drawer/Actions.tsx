// What can be taken away from an example: a link, a picture of its maps, their values as CSV and NPY.
import { useState } from "preact/hooks";
import type { PictureMap } from "../api/types";
import { className } from "../format/names";
import { count } from "../format/numbers";
import { pixels } from "../maps/pixels";
import { hostLink } from "../state/host";
import { pictureUrl } from "../state/pageCache";
import { view } from "../state/view";
import styles from "./Drawer.module.css";
import { featureTable } from "./featureTable";
import { csv, npy, save } from "./files";
import { type Plate, sheet } from "./sheet";
import type { ShownPart } from "./shownPart";

const PLATE_SIDE = 256;
const MESSAGE_MS = 2000;

type Parts = readonly ShownPart[];

export function Actions({ parts }: { parts: Parts }) {
  const pictures = parts.filter(({ page }) => page.header.modality === "image");
  const isReady = parts.every(({ exactMaps }) => exactMaps.some((map) => map));
  const name = `${view.value.run}_${parts[0]?.row.id}`;
  const files = parts.flatMap(({ exactMaps }) => exactMaps.filter((map) => map)).length;
  return (
    <div class={styles.actions}>
      <CopyLink />
      {pictures.length > 0 && (
        <button
          type="button"
          disabled={!isReady}
          onClick={() => void savePicture(pictures, name)}
          title="the maps with their legends, as one picture"
        >
          PNG
        </button>
      )}
      <button
        type="button"
        disabled={!isReady}
        onClick={() => saveTable(parts, name)}
        title={`the exact values, ${pictures.length === parts.length ? "a line for each pixel" : "a line for each feature"}`}
      >
        CSV
      </button>
      <button
        type="button"
        disabled={!isReady}
        onClick={() => saveArrays(parts, name)}
        title={`float32 arrays, a file for each of ${count(files)} maps`}
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

function saveTable(parts: Parts, name: string): void {
  const { heads, lines } = featureTable(parts);
  save(`${name}.csv`, csv(heads, lines));
}

/** A file for each map. */
function saveArrays(parts: Parts, name: string): void {
  for (const { page, row, exactMaps } of parts)
    page.header.columns.forEach(({ key }, m) => {
      const map = row.maps[m];
      const values = exactMaps[m]?.values;
      const file = [name, ...(page.part ? [page.part.name] : []), key].join("_");
      if (map && values) save(`${file}.npy`, npy(values, "full" in map ? map.full : [values.length]));
    });
}

/** The inputs that are pictures and all their maps with their legends, as one picture. */
async function savePicture(parts: Parts, name: string): Promise<void> {
  const plates: Plate[] = [];
  for (const part of parts) plates.push(...(await platesOf(part)));
  const { row } = parts[0]!;
  const explained = row.maps.find((map) => map)?.target_name ?? "";
  const predicted = className(row.predicted, row.predicted_name);
  const caption = `${view.value.run} · ${row.id} · predicted ${predicted} · explains ${explained}`;
  sheet(caption, plates, PLATE_SIDE).toBlob((blob) => blob && save(`${name}.png`, blob), "image/png");
}

async function platesOf({ page, index, row, exactMaps, clips }: ShownPart): Promise<Plate[]> {
  const plates: Plate[] = [];
  const source = pictureUrl(page, index);
  if (source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const shape = [image.naturalHeight, image.naturalWidth] as const;
    plates.push({ title: page.part?.name ?? "input", picture: image, shape, legend: null });
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
  return plates;
}
