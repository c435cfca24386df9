// One picture's map: painted pixel for pixel on its own opaque tile; the value under the pointer is exact.
import { batch, effect, type Signal, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { expand, type Page } from "../api/pageOfMaps";
import type { Method, Picture } from "../api/types";
import { percent, short, withSign } from "../format/numbers";
import { active, hover } from "../state/hover";
import { clips, exactMap, peek, pictureUrl, page as shownPage, tile } from "../state/model";
import { colourTable } from "./colour";

interface Props {
  of: Page;
  row: number;
  column: number;
  map: Picture;
  method: Method;
}

const EXACT_AFTER_MS = 90;

const sights = new Map<Element, Signal<boolean>>();
const watcher = new IntersectionObserver(
  (entries) =>
    batch(() => entries.forEach((e) => sights.get(e.target) && (sights.get(e.target)!.value = e.isIntersecting))),
  { rootMargin: "400px" },
);

/** Whether an element is in sight, or nearly; until that is known it is. */
function inSight(element: Element): { shown: Signal<boolean>; forget: () => void } {
  const shown = signal(true);
  sights.set(element, shown);
  watcher.observe(element);
  return { shown, forget: () => (watcher.unobserve(element), void sights.delete(element)) };
}

export function MapTile({ of, row, column, map, method }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [height, width] = map.shape;
  // A change of clip paints, and renders nothing: of a hundred maps that is what costs.
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    const pixels = context.createImageData(width, height);
    const out = new Uint32Array(pixels.data.buffer);
    const codes = of.codes(map.codes);
    let painted = NaN;
    const { shown, forget } = inSight(canvas.current!);
    const stop = effect(() => {
      const clip = clips.value[row]?.[column] ?? 0;
      if (clip === painted || !shown.value) return; // what is out of sight is painted when it comes near
      painted = clip;
      const table = colourTable(map.scale, clip, method.signed);
      for (let i = 0; i < codes.length; i++) out[i] = table[codes[i]! & 255]!;
      context.putImageData(pixels, 0, 0);
    });
    return () => (stop(), forget());
  }, [of, map, method.signed]);

  const timer = useRef(0);
  const leave = (): void => {
    clearTimeout(timer.current);
    hover.value = null;
    active.value = null;
  };
  const move = (event: PointerEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const at = (length: number, fraction: number): number =>
      Math.min(length - 1, Math.max(0, Math.floor(fraction * length)));
    const [fx, fy] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const [fullHeight, fullWidth] = map.full;
    const [x, y] = [at(fullWidth, fx), at(fullHeight, fy)];
    const place = { x: event.clientX, y: event.clientY };
    const position = `x ${x}, y ${y} of ${fullWidth} × ${fullHeight}`;
    const code = of.codes(map.codes)[at(height, fy) * width + at(width, fx)]!;
    const written = method.signed ? withSign : (v: number) => short(v, 4);
    clearTimeout(timer.current);
    active.value = { row, column };
    hover.value = { ...place, value: `≈ ${written(expand(code, map.scale))}`, lines: [position] };
    if (of.header.columns[column]!.change) return; // computed for the page, stored nowhere
    timer.current = window.setTimeout(async () => {
      const clip = clips.peek()[row]?.[column] ?? 0;
      const exact = await exactMap(of, row, column, map).catch(() => null);
      const still = hover.value?.x === place.x && hover.value.y === place.y && shownPage.value?.page === of;
      if (!exact || !still) return;
      const value = exact.values[y * fullWidth + x]!;
      const below = exact.sorted.filter((v) => v <= Math.abs(value)).length / exact.sorted.length;
      const beyond = exact.sorted.filter((v) => v > clip).length / exact.values.length;
      hover.value = {
        ...place,
        value: written(value),
        lines: [
          position,
          `|a| above ${percent(below, 0)} of this map`,
          `${percent(beyond)} of it beyond the clip ${short(clip)}`,
        ],
      };
    }, EXACT_AFTER_MS);
  };
  useEffect(() => leave, []);

  const longest = Math.max(height, width);
  const size = { width: `${(tile.value * width) / longest}px`, height: `${(tile.value * height) / longest}px` };
  const underlay = peek.value ? pictureUrl(of, row) : null;
  return (
    <div class="tile" style={size}>
      <canvas
        ref={canvas}
        width={width}
        height={height}
        onPointerMove={move}
        onPointerLeave={leave}
        aria-hidden="true"
      />
      {underlay && <img class="peek" src={underlay} alt="" />}
    </div>
  );
}
