// The map of a one-dimensional input: attributions as bars along the positions, with the input as lines or as letters.
import { useEffect, useRef } from "preact/hooks";
import type { Method } from "../api/types";
import { attribution, count, short } from "../format/numbers";
import { active, hover, leave } from "../state/interaction";
import { css, mapColour } from "./colour";
import { type InputRange, type Signal, signalOf, strongestStretch } from "./inputParts";
import styles from "./TabularMap.module.css";

const HEIGHTS: Record<number, number> = { 64: 44, 112: 72, 224: 120 };
const WIDTH = 400;
const LETTERS = ["A", "C", "G", "T"];
const LETTER_COLOURS = ["#00875f", "#0072b2", "#b07a00", "#c0392b"]; // on the neutral ground, in both themes
const MAX_LETTERS = 50;
const MAX_LINES = 6;

interface Props {
  range: InputRange;
  values: Float32Array;
  inputs: readonly (number | null)[];
  clip: number;
  method: Method;
  tile: number;
  row: number;
  column: number;
}

export function SignalMap({ range, values, inputs, clip, method, tile, row, column }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const signal = signalOf(range, values, inputs);
  const { attributions, channels, letters } = signal;
  const length = attributions.length;
  const [start, end] = letters ? strongestStretch(attributions, MAX_LETTERS) : [0, length];
  const height = HEIGHTS[tile] ?? 72;
  const pixelRatio = Math.max(1, devicePixelRatio);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
    draw(context, signal, { start, end, height, clip, signed: method.signed });
  }, [values, inputs, clip, height]);
  const point = (event: PointerEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const offset = Math.floor(((event.clientX - box.left) / box.width) * (end - start));
    const i = start + Math.min(end - start - 1, Math.max(0, offset));
    const input = letters
      ? (LETTERS[letters[i]!] ?? "none")
      : channels
          .slice(0, MAX_LINES)
          .map((channel) => short(channel[i] ?? null, 4))
          .join(", ");
    active.value = { row, column };
    hover.value = {
      x: event.clientX,
      y: event.clientY,
      value: attribution(attributions[i]!, method.signed),
      lines: [`${range.name}[${i}] of ${count(length)}`, `input ${input}`],
    };
  };
  const notes: string[] = [];
  if (end - start < length)
    notes.push(`positions ${count(start)}–${count(end - 1)} of ${count(length)}, the strongest`);
  if (letters) notes.push("A C G T for channels 0 to 3");
  return (
    <div class={styles.signal}>
      <div class={styles.signalName}>{range.name}</div>
      <canvas
        ref={canvas}
        width={WIDTH * pixelRatio}
        height={height * pixelRatio}
        style={{ height: `${height}px` }}
        onPointerMove={point}
        onPointerLeave={leave}
        aria-hidden="true"
      />
      {notes.length > 0 && <div class={styles.more}>{notes.join("; ")}</div>}
    </div>
  );
}

interface Frame {
  /** The positions that are drawn: [start, end). */
  start: number;
  end: number;
  height: number;
  clip: number;
  signed: boolean;
}

function draw(context: CanvasRenderingContext2D, signal: Signal, frame: Frame): void {
  const { attributions, letters } = signal;
  const { start, end, height, clip, signed } = frame;
  const zero = signed ? height / 2 : height - 2;
  const step = WIDTH / (end - start);
  const size = (value: number): number => (Number.isFinite(value) ? Math.abs(value) : 0);
  const largest = clip > 0 ? clip : attributions.reduce((max, v) => Math.max(max, size(v)), 0) || 1;
  context.fillStyle = "rgb(247,247,247)";
  context.fillRect(0, 0, WIDTH, height);
  for (let i = start; i < end; i++) {
    const value = attributions[i]!;
    const x = (i - start) * step;
    // The sum over channels may exceed the clip, which is a quantile of single values.
    const bar = Math.min(1, size(value) / largest) * (zero - 2);
    const letter = letters?.[i] ?? -1;
    context.fillStyle = css(mapColour(value, largest, signed));
    if (!Number.isFinite(value)) context.fillRect(x, 0, Math.max(1, step), height);
    else if (letter >= 0 && bar > 1.5) drawLetter(context, letter, x, zero, step, value < 0 ? -bar : bar);
    else context.fillRect(x, value < 0 ? zero : zero - bar, Math.max(1, step), bar);
  }
  context.strokeStyle = "rgba(0,0,0,.25)";
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, zero);
  context.lineTo(WIDTH, zero);
  context.stroke();
  if (!letters) drawInput(context, signal.channels, step, height);
}

/** A letter that stands on the zero line, or hangs from it if `bar` is negative. */
function drawLetter(
  context: CanvasRenderingContext2D,
  letter: number,
  x: number,
  zero: number,
  step: number,
  bar: number,
): void {
  context.save();
  context.translate(x + step / 2, zero);
  context.scale(step / 9, bar / 9);
  context.fillStyle = LETTER_COLOURS[letter]!;
  context.font = "bold 12px sans-serif";
  context.textAlign = "center";
  context.fillText(LETTERS[letter]!, 0, 0);
  context.restore();
}

/** The input itself as one line a channel, over the whole height. */
function drawInput(
  context: CanvasRenderingContext2D,
  channels: readonly (number | null)[][],
  step: number,
  height: number,
): void {
  const finite = channels.flat().filter((v): v is number => v !== null && Number.isFinite(v));
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  context.strokeStyle = "rgba(32,33,36,.65)";
  for (const channel of channels.slice(0, MAX_LINES)) {
    context.beginPath();
    channel.forEach((value, i) => {
      if (value === null) return;
      context.lineTo((i + 0.5) * step, height - 3 - ((value - low) / (high - low || 1)) * (height - 6));
    });
    context.stroke();
  }
}
