// One large map over its input; pointer, zoom and blend are the same for all plates.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { ExactMap } from "../api/requests";
import { pixels } from "../maps/pixels";
import tileStyles from "../maps/Tile.module.css";
import styles from "./PictureMaps.module.css";
import { clamp, type Zoom, zoomAt } from "./zoom";

/** The pixel under the pointer, in the maps at full size. */
export const cursor = signal<{ x: number; y: number } | null>(null);
const UNZOOMED: Zoom = { factor: 1, x: 0, y: 0 };
export const zoom = signal<Zoom>(UNZOOMED);
/** The opacity of maps over their input: 0 for the input alone, 1 for the map alone. */
export const blend = signal(1);

export function resetZoom(): void {
  zoom.value = UNZOOMED;
}

const SIDE = 184;
/** Wheel movement, in pixels, that zooms by a factor of e. */
const WHEEL = 300;

interface Props {
  title: string;
  /** Height and width in pixels of the map. */
  full: readonly [number, number];
  input: string | null;
  exact: ExactMap | null;
  clip: number;
  signed: boolean;
}

export function Plate({ title, full, input, exact, clip, signed }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [height, width] = full;
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || !exact || exact.values.length !== width * height) return;
    context.putImageData(new ImageData(pixels(exact.values, clip, signed), width, height), 0, 0);
  }, [exact, clip, signed]);
  const longest = Math.max(height, width);
  const size = { width: (SIDE * width) / longest, height: (SIDE * height) / longest };
  const { factor, x, y } = zoom.value;
  const move = (event: PointerEvent): void => {
    const { left, top } = box.current!.getBoundingClientRect();
    if (event.buttons & 1) {
      const limit = SIDE * (1 - factor);
      zoom.value = { factor, x: clamp(x + event.movementX, limit, 0), y: clamp(y + event.movementY, limit, 0) };
    }
    const pixel = {
      x: Math.floor(((event.clientX - left - x) / factor / size.width) * width),
      y: Math.floor(((event.clientY - top - y) / factor / size.height) * height),
    };
    const isInside = pixel.x >= 0 && pixel.x < width && pixel.y >= 0 && pixel.y < height;
    cursor.value = isInside ? pixel : null;
  };
  const leave = (): void => {
    cursor.value = null;
  };
  useEffect(() => {
    // Not an attribute: those listeners are passive, and the drawer would scroll.
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      const { left, top } = box.current!.getBoundingClientRect();
      const by = Math.exp(-event.deltaY / WHEEL);
      zoom.value = zoomAt(zoom.value, by, event.clientX - left, event.clientY - top, SIDE);
    };
    const element = box.current;
    element?.addEventListener("wheel", wheel, { passive: false });
    return () => element?.removeEventListener("wheel", wheel);
  }, []);
  const cssSize = { width: `${size.width}px`, height: `${size.height}px` };
  const transform = `translate(${x}px, ${y}px) scale(${factor})`;
  return (
    <figure class={styles.plate}>
      <figcaption title={title}>{title}</figcaption>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the table of the strongest features is the way without a pointer */}
      <div
        ref={box}
        class={`${tileStyles.tile} ${styles.zoomable}`}
        style={cssSize}
        onPointerMove={move}
        onPointerLeave={leave}
        onDblClick={resetZoom}
      >
        <div class={styles.zoomed} style={{ ...cssSize, transform }}>
          {input && <img src={input} alt="" draggable={false} />}
          {exact && (
            <canvas ref={canvas} width={width} height={height} style={{ opacity: blend.value }} aria-hidden="true" />
          )}
          <Cross width={width} height={height} />
        </div>
      </div>
    </figure>
  );
}

/** A frame around the pixel under the pointer. */
function Cross({ width, height }: { width: number; height: number }) {
  const pixel = cursor.value;
  if (!pixel) return null;
  const style = {
    left: `${(pixel.x / width) * 100}%`,
    top: `${(pixel.y / height) * 100}%`,
    width: `${100 / width}%`,
    height: `${100 / height}%`,
    outlineWidth: `${1.5 / zoom.value.factor}px`,
  };
  return <span class={styles.cross} style={style} />;
}
