// One picture's map, painted pixel for pixel on an opaque tile; the tooltip shows the exact value under the pointer.
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { expand, type Page } from "../api/pageOfMaps";
import type { Method, PictureMap } from "../api/types";
import { attribution, percent, short } from "../format/numbers";
import { active, hover, leave, peek } from "../state/interaction";
import { exactMap } from "../state/loadExample";
import { page as shownPage } from "../state/loaded";
import { pictureUrl } from "../state/pageCache";
import { tile } from "../state/view";
import { shownClips } from "./clips";
import { colourTable } from "./colour";
import { rank } from "./quantiles";
import styles from "./Tile.module.css";
import { visibility } from "./visibility";

interface Props {
  page: Page;
  row: number;
  column: number;
  map: PictureMap;
  method: Method;
}

const EXACT_AFTER_MS = 90;

/** Width and height of a tile in CSS: the longer side as the view says, the shape as the picture's. */
export function tileSize([height, width]: readonly [number, number], side: number): { width: string; height: string } {
  const longest = Math.max(height, width);
  return { width: `${(side * width) / longest}px`, height: `${(side * height) / longest}px` };
}

export function MapTile({ page, row, column, map, method }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [height, width] = map.shape;
  // A change of the clip only repaints: rendering a hundred components would take longer than that.
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const image = context.createImageData(width, height);
    const rgba = new Uint32Array(image.data.buffer);
    const codes = page.codes(map.codes);
    let paintedClip = NaN;
    const { visible, unobserve } = visibility(canvas.current!);
    const stop = effect(() => {
      const clip = shownClips(page).value[row]?.[column] ?? 0;
      if (clip === paintedClip || !visible.value) return; // painted when it scrolls into view
      paintedClip = clip;
      const table = colourTable(map.scale, clip, method.signed);
      for (let i = 0; i < codes.length; i++) rgba[i] = table[codes[i]! & 255]!;
      context.putImageData(image, 0, 0);
    });
    return () => {
      stop();
      unobserve();
    };
  }, [page, map, method.signed]);

  const timer = useRef(0);
  const end = (): void => {
    clearTimeout(timer.current);
    leave();
  };
  useEffect(() => end, []);
  const move = (event: PointerEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const pixelAt = (length: number, share: number): number =>
      Math.min(length - 1, Math.max(0, Math.floor(share * length)));
    const [shareX, shareY] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const [fullHeight, fullWidth] = map.full;
    const [x, y] = [pixelAt(fullWidth, shareX), pixelAt(fullHeight, shareY)];
    const pointer = { x: event.clientX, y: event.clientY };
    const position = `x ${x}, y ${y} of ${fullWidth} × ${fullHeight}`;
    const code = page.codes(map.codes)[pixelAt(height, shareY) * width + pixelAt(width, shareX)]!;
    clearTimeout(timer.current);
    active.value = { row, column };
    const approximate = attribution(expand(code, map.scale), method.signed);
    hover.value = { ...pointer, value: `≈ ${approximate}`, lines: [position] };
    if (page.header.columns[column]!.change) return; // differences are computed for the page and not stored
    timer.current = window.setTimeout(async () => {
      const clip = shownClips(page).peek()[row]?.[column] ?? 0;
      const exact = await exactMap(page, row, column, map).catch(() => null);
      const unmoved =
        hover.value?.x === pointer.x &&
        hover.value.y === pointer.y &&
        shownPage.value?.page === (page.part?.whole ?? page);
      if (!exact || !unmoved) return;
      const value = exact.values[y * fullWidth + x]!;
      const beyondClip = (exact.sorted.length * (1 - rank(exact.sorted, clip))) / exact.values.length;
      hover.value = {
        ...pointer,
        value: attribution(value, method.signed),
        lines: [
          position,
          `|a| above ${percent(rank(exact.sorted, Math.abs(value)), 0)} of this map`,
          `${percent(beyondClip)} of it beyond the clip ${short(clip)}`,
        ],
      };
    }, EXACT_AFTER_MS);
  };

  const input = peek.value ? pictureUrl(page, row) : null;
  return (
    <div class={styles.tile} style={tileSize(map.shape, tile.value)}>
      <canvas ref={canvas} width={width} height={height} onPointerMove={move} onPointerLeave={end} aria-hidden="true" />
      {input && <img class={styles.peek} src={input} alt="" />}
    </div>
  );
}
