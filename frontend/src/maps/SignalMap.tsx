// A one-dimensional input: its attributions as signed bars along the positions, the signal itself as a line; letters for one-hot codes.
import { useEffect, useRef } from "preact/hooks";
import type { Method } from "../api/types";
import { count, short, withSign } from "../format/numbers";
import { active, hover } from "../state/hover";
import { css, mapColour } from "./colour";
import { type Group, signalOf, strongest } from "./signals";

const HEIGHT: Record<number, number> = { 64: 44, 112: 72, 224: 120 };
const LETTERS = ["A", "C", "G", "T"];
const INK = ["#00875f", "#0072b2", "#b07a00", "#c0392b"]; // on the neutral ground of all maps, in either theme
const WIDTH = 400;
const MOST_LETTERS = 50;

interface Props {
  group: Group;
  values: Float32Array;
  inputs: readonly (number | null)[];
  clip: number;
  method: Method;
  tile: number;
  row: number;
  column: number;
}

export function SignalMap({ group, values, inputs, clip, method, tile, row, column }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { credit, channels, letters } = signalOf(group, values, inputs);
  const [start, end] = letters ? strongest(credit, MOST_LETTERS) : [0, credit.length];
  const shown = end - start;
  const height = HEIGHT[tile] ?? 72;
  const middle = method.signed ? height / 2 : height - 2;
  const wide = WIDTH / shown;
  // Channels are summed: what they add up to may lie beyond the clip of single values.
  const most =
    Math.max(clip, 0) || credit.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0) || 1;
  useEffect(() => {
    const scale = Math.max(1, devicePixelRatio);
    const context = canvas.current!.getContext("2d")!;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = "rgb(247,247,247)";
    context.fillRect(0, 0, WIDTH, height);
    for (let i = start; i < end; i++) {
      const value = credit[i]!;
      const x = (i - start) * wide;
      if (!Number.isFinite(value)) {
        context.fillStyle = css(mapColour(NaN, most, true));
        context.fillRect(x, 0, Math.max(1, wide), height);
        continue;
      }
      const size = Math.min(1, Math.abs(value) / most) * (middle - 2);
      const letter = letters?.[i] ?? -1;
      if (letters && letter >= 0 && size > 1.5) {
        context.save();
        context.translate(x + wide / 2, middle);
        context.scale(wide / 9, (size / 9) * (value < 0 ? -1 : 1));
        context.fillStyle = INK[letter]!;
        context.font = "bold 12px sans-serif";
        context.textAlign = "center";
        context.fillText(LETTERS[letter]!, 0, 0);
        context.restore();
      } else {
        context.fillStyle = css(mapColour(value, most, method.signed));
        context.fillRect(x, value < 0 ? middle : middle - size, Math.max(1, wide), size);
      }
    }
    context.strokeStyle = "rgba(0,0,0,.25)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, middle);
    context.lineTo(WIDTH, middle);
    context.stroke();
    if (!letters) {
      const finite = channels.flat().filter((v): v is number => v !== null && Number.isFinite(v));
      const [low, high] = [Math.min(...finite), Math.max(...finite)];
      context.strokeStyle = "rgba(32,33,36,.65)";
      for (const channel of channels.slice(0, 6)) {
        context.beginPath();
        channel.forEach(
          (v, i) =>
            v !== null && context.lineTo((i + 0.5) * wide, height - 3 - ((v - low) / (high - low || 1)) * (height - 6)),
        );
        context.stroke();
      }
    }
  }, [values, inputs, clip, height]);
  const point = (event: PointerEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const i = start + Math.min(shown - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * shown)));
    active.value = { row, column };
    const input = letters
      ? (LETTERS[letters[i]!] ?? "none")
      : channels
          .slice(0, 6)
          .map((c) => short(c[i] ?? null, 4))
          .join(", ");
    hover.value = {
      x: event.clientX,
      y: event.clientY,
      value: method.signed ? withSign(credit[i]!) : short(credit[i]!, 4),
      lines: [`${group.name}[${i}] of ${count(credit.length)}`, `input ${input}`],
    };
  };
  const leave = (): void => {
    hover.value = null;
    active.value = null;
  };
  const scale = Math.max(1, devicePixelRatio);
  const notes = [
    ...(shown < credit.length
      ? [`positions ${count(start)}–${count(end - 1)} of ${count(credit.length)}, the strongest`]
      : []),
    ...(letters ? ["A C G T for channels 0 to 3"] : []),
  ];
  return (
    <div class="signal">
      <div class="signal-name">{group.name}</div>
      <canvas
        ref={canvas}
        width={WIDTH * scale}
        height={height * scale}
        style={{ height: `${height}px` }}
        onPointerMove={point}
        onPointerLeave={leave}
        aria-hidden="true"
      />
      {notes.length > 0 && <div class="bar-more">{notes.join("; ")}</div>}
    </div>
  );
}
