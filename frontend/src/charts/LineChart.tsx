// A small chart of curves with their 95 % bands; the tooltip shows the values under the pointer.
import { useRef, useState } from "preact/hooks";
import { percent, short } from "../format/numbers";
import { hover } from "../state/interaction";
import { band, line, scale, ticks, tickTexts } from "./axes";
import styles from "./LineChart.module.css";

export interface Curve {
  name: string;
  colour: string;
  dash: string;
  mean: (number | null)[];
  low?: (number | null)[] | undefined;
  high?: (number | null)[] | undefined;
}

interface Props {
  title: string;
  /** The title of the horizontal axis. */
  axis: string;
  /** The points of all curves on that axis, shares of 1. */
  at: number[];
  curves: Curve[];
  /** The name of the curve that is emphasized. */
  bold: string | null;
}

const [WIDTH, HEIGHT] = [360, 220];
const EDGE = { left: 46, right: 10, top: 8, bottom: 36 };

export function LineChart({ title, axis, at, curves, bold }: Props) {
  const svg = useRef<SVGSVGElement>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const values = curves
    .flatMap((c) => [...c.mean, ...(c.low ?? []), ...(c.high ?? [])])
    .filter((v): v is number => v !== null);
  if (values.length === 0 || at.length === 0) return <p class="note">no curve: none of the maps has all its points</p>;
  const marks = ticks(Math.min(...values), Math.max(...values));
  const markTexts = tickTexts(marks);
  const x = scale(Math.min(0, ...at), Math.max(1, ...at), EDGE.left, WIDTH - EDGE.right);
  const y = scale(marks[0]!, marks[marks.length - 1]!, HEIGHT - EDGE.bottom, EDGE.top);
  const move = (event: PointerEvent): void => {
    const box = svg.current!.getBoundingClientRect();
    const pointer = ((event.clientX - box.left) / box.width) * WIDTH;
    const distance = (i: number): number => Math.abs(x(at[i]!) - pointer);
    const nearest = at.reduce((best, _, i) => (distance(i) < distance(best) ? i : best), 0);
    setPointed(nearest);
    hover.value = {
      x: event.clientX,
      y: event.clientY,
      value: `${percent(at[nearest]!, 0)} ${axis.replace(/^share /, "")}`,
      lines: valuesAt(curves, nearest),
    };
  };
  const leave = (): void => {
    setPointed(null);
    hover.value = null;
  };
  const isFaint = (curve: Curve): boolean => bold !== null && bold !== curve.name;
  const right = WIDTH - EDGE.right;
  const bottom = HEIGHT - EDGE.bottom;
  return (
    <svg
      ref={svg}
      class={styles.chart}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`${title} by ${axis}; the table has its numbers`}
      onPointerMove={move}
      onPointerLeave={leave}
    >
      {marks.map((mark, i) => (
        <g key={mark}>
          <line class={mark === 0 ? styles.zero : styles.rule} x1={EDGE.left} x2={right} y1={y(mark)} y2={y(mark)} />
          <text x={EDGE.left - 6} y={y(mark) + 4} text-anchor="end">
            {markTexts[i]}
          </text>
        </g>
      ))}
      {[0, 0.25, 0.5, 0.75, 1].map((share) => (
        <text key={share} x={x(share)} y={bottom + 15} text-anchor={share === 1 ? "end" : "middle"}>
          {percent(share, 0)}
        </text>
      ))}
      <text x={(EDGE.left + right) / 2} y={HEIGHT - 4} text-anchor="middle">
        {axis}
      </text>
      {pointed !== null && (
        <line class={styles.pointed} x1={x(at[pointed]!)} x2={x(at[pointed]!)} y1={EDGE.top} y2={bottom} />
      )}
      {curves.map((c) => {
        if (!c.low || !c.high) return null;
        return (
          <path key={c.name} d={band(at, c.low, c.high, x, y)} fill={c.colour} opacity={isFaint(c) ? 0.04 : 0.13} />
        );
      })}
      {curves.map((c) => (
        <path
          key={c.name}
          d={line(at, c.mean, x, y)}
          fill="none"
          stroke={c.colour}
          stroke-width={bold === c.name ? 3 : 1.75}
          stroke-dasharray={c.dash}
          opacity={isFaint(c) ? 0.3 : 1}
        />
      ))}
    </svg>
  );
}

/** The value of every curve at a point, the largest first. */
function valuesAt(curves: readonly Curve[], point: number): string[] {
  const meanOf = (curve: Curve): number | null => curve.mean[point] ?? null;
  return [...curves]
    .sort((a, b) => (meanOf(b) ?? -Infinity) - (meanOf(a) ?? -Infinity))
    .map((curve) => {
      const [low, high] = [curve.low?.[point] ?? null, curve.high?.[point] ?? null];
      const interval = low === null || high === null ? "" : ` (${short(low)} to ${short(high)})`;
      return `${short(meanOf(curve))}${interval}  ${curve.name}`;
    });
}
