// The maps of one picture, large, under one cursor, zoom and blend: the same place in all of them at once.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import type { ExactMap } from "../api/requests";
import type { Column, Picture, Row } from "../api/types";
import { percent, short, withSign } from "../format/numbers";
import { rank } from "../maps/clips";
import { pixels } from "../maps/pixels";
import { pictureUrl, smooth } from "../state/model";
import { clamp, zoomed } from "./zoom";

/** The pixel pointed at, in pixels of the maps at full size. */
const cursor = signal<{ x: number; y: number } | null>(null);
const zoom = signal({ factor: 1, x: 0, y: 0 });
/** How much of the map lies over the input: 0 the input, 1 the map alone. */
const blend = signal(1);
const SIDE = 184;

export function PictureMaps({
  of,
  at,
  row,
  exact,
  clips,
}: {
  of: Page;
  at: number;
  row: Row;
  exact: readonly (ExactMap | null)[];
  clips: number[];
}) {
  useEffect(() => {
    cursor.value = null;
    zoom.value = { factor: 1, x: 0, y: 0 };
  }, [of, at]);
  const { columns } = of.header;
  const source = pictureUrl(of, at);
  const first = row.maps.find((map): map is Picture => map !== null && map.error === undefined && "full" in map);
  if (!first) return null;
  return (
    <section>
      <div class={`plates ${smooth.value ? "smooth" : ""}`}>
        {source && <Plate title="input" full={first.full} source={source} exact={null} clip={0} signed={false} />}
        {columns.map((column, m) => {
          const map = row.maps[m];
          if (!map || map.error !== undefined || column.change) return null;
          return (
            <Plate
              key={column.key}
              title={column.title}
              full={(map as Picture).full}
              source={source}
              exact={exact[m] ?? null}
              clip={clips[m]!}
              signed={column.method.signed}
            />
          );
        })}
      </div>
      <div class="blend">
        <label class="field">
          <span>input</span>
          <input
            type="range"
            min={0}
            max={1}
            step={0.05}
            value={blend.value}
            aria-label="from input to map"
            onInput={(e) => (blend.value = Number(e.currentTarget.value))}
          />
          <span>map</span>
        </label>
        <span class="note">
          {zoom.value.factor > 1
            ? `× ${zoom.value.factor.toFixed(1)}, double-click to reset`
            : "scroll to zoom, drag to pan"}
        </span>
      </div>
      <Values columns={columns} exact={exact} full={first.full} clips={clips} />
    </section>
  );
}

function Plate({
  title,
  full,
  source,
  exact,
  clip,
  signed,
}: {
  title: string;
  full: readonly [number, number];
  source: string | null;
  exact: ExactMap | null;
  clip: number;
  signed: boolean;
}) {
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
  const point = (event: PointerEvent): void => {
    const here = box.current!.getBoundingClientRect();
    const [px, py] = [event.clientX - here.left, event.clientY - here.top];
    if (event.buttons & 1)
      zoom.value = {
        factor,
        x: clamp(x + event.movementX, SIDE * (1 - factor), 0),
        y: clamp(y + event.movementY, SIDE * (1 - factor), 0),
      };
    const place = {
      x: Math.floor(((px - x) / factor / size.width) * width),
      y: Math.floor(((py - y) / factor / size.height) * height),
    };
    cursor.value = place.x >= 0 && place.x < width && place.y >= 0 && place.y < height ? place : null;
  };
  useEffect(() => {
    // Not by an attribute: those listeners are passive and could not keep the drawer from scrolling.
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      const here = box.current!.getBoundingClientRect();
      zoom.value = zoomed(
        zoom.value,
        Math.exp(-event.deltaY / 300),
        event.clientX - here.left,
        event.clientY - here.top,
        SIDE,
      );
    };
    const element = box.current;
    element?.addEventListener("wheel", wheel, { passive: false });
    return () => element?.removeEventListener("wheel", wheel);
  }, []);
  const at = cursor.value;
  const inner = {
    width: `${size.width}px`,
    height: `${size.height}px`,
    transform: `translate(${x}px, ${y}px) scale(${factor})`,
  };
  return (
    <figure class="plate">
      <figcaption title={title}>{title}</figcaption>
      <div
        ref={box}
        class="tile zoomable"
        style={{ width: `${size.width}px`, height: `${size.height}px` }}
        onPointerMove={point}
        onPointerLeave={() => (cursor.value = null)}
        onDblClick={() => (zoom.value = { factor: 1, x: 0, y: 0 })}
      >
        <div class="zoomed" style={inner}>
          {source && <img src={source} alt="" draggable={false} />}
          {exact && (
            <canvas ref={canvas} width={width} height={height} style={{ opacity: blend.value }} aria-hidden="true" />
          )}
          {at && (
            <span
              class="cross"
              style={{
                left: `${(at.x / width) * 100}%`,
                top: `${(at.y / height) * 100}%`,
                width: `${100 / width}%`,
                height: `${100 / height}%`,
                outlineWidth: `${1.5 / factor}px`,
              }}
            />
          )}
        </div>
      </div>
    </figure>
  );
}

/** The values of all maps at the cursor: exact, and how many of the map's own lie below. */
function Values({
  columns,
  exact,
  full,
  clips,
}: {
  columns: readonly Column[];
  exact: readonly (ExactMap | null)[];
  full: readonly [number, number];
  clips: number[];
}) {
  const at = cursor.value;
  return (
    <dl class="cursor-values" aria-live="off">
      <dt>{at ? `x ${at.x}, y ${at.y}` : "point at a map"}</dt>
      <dd />
      {columns.map((column, m) => {
        const found = exact[m];
        if (!found) return null;
        const value = at ? found.values[at.y * full[1] + at.x] : undefined;
        const below = value === undefined || !Number.isFinite(value) ? null : rank(found.sorted, Math.abs(value));
        return (
          <>
            <dt>{column.title}</dt>
            <dd>
              {value === undefined ? "" : column.method.signed ? withSign(value) : short(value, 4)}
              {below !== null && (
                <span class="note">
                  {" "}
                  above {percent(below, 0)}
                  {Math.abs(value!) > clips[m]! ? ", beyond the clip" : ""}
                </span>
              )}
            </dd>
          </>
        );
      })}
    </dl>
  );
}
