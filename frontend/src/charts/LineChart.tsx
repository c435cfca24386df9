// A small chart of curves with their 95 % bands; the values under the pointer in the page's tooltip.
import { useRef, useState } from "preact/hooks";
import { percent, short } from "../format/numbers";
import { hover } from "../state/hover";
import { band, line, scale, ticks, tickTexts } from "./axes";

export interface Curve {
  name: string;
  colour: string;
  dash: string;
  mean: (number | null)[];
  low?: (number | null)[] | undefined;
  high?: (number | null)[] | undefined;
}

const [WIDTH, HEIGHT] = [360, 220];
const EDGE = { left: 46, right: 10, top: 8, bottom: 36 };

/** `at`: where on the axis, a share of 1, the points of all curves lie. */
export function LineChart({
  title,
  axis,
  at,
  curves,
  bold,
}: {
  title: string;
  axis: string;
  at: number[];
  curves: Curve[];
  bold: string | null;
}) {
  const svg = useRef<SVGSVGElement>(null);
  const [under, setUnder] = useState<number | null>(null);
  const values = curves
    .flatMap((c) => [...c.mean, ...(c.low ?? []), ...(c.high ?? [])])
    .filter((v): v is number => v !== null);
  if (values.length === 0 || at.length === 0) return <p class="note">no curve: none of the maps has all its points</p>;
  const marks = ticks(Math.min(...values), Math.max(...values));
  const written = tickTexts(marks);
  const x = scale(Math.min(0, ...at), Math.max(1, ...at), EDGE.left, WIDTH - EDGE.right);
  const y = scale(marks[0]!, marks[marks.length - 1]!, HEIGHT - EDGE.bottom, EDGE.top);
  const move = (event: PointerEvent): void => {
    const box = svg.current!.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * WIDTH;
    const nearest = at.reduce((best, v, i) => (Math.abs(x(v) - px) < Math.abs(x(at[best]!) - px) ? i : best), 0);
    setUnder(nearest);
    const told = curves.map((c) => ({
      name: c.name,
      value: c.mean[nearest] ?? null,
      low: c.low?.[nearest] ?? null,
      high: c.high?.[nearest] ?? null,
    }));
    told.sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
    const lines = told.map(
      (t) =>
        `${short(t.value)}${t.low === null || t.high === null ? "" : ` (${short(t.low)} to ${short(t.high)})`}  ${t.name}`,
    );
    hover.value = {
      x: event.clientX,
      y: event.clientY,
      value: `${percent(at[nearest]!, 0)} ${axis.replace(/^share /, "")}`,
      lines,
    };
  };
  const leave = (): void => {
    setUnder(null);
    hover.value = null;
  };
  const faint = (curve: Curve): boolean => bold !== null && bold !== curve.name;
  return (
    <svg
      ref={svg}
      class="chart"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`${title} by ${axis}; the table has its numbers`}
      onPointerMove={move}
      onPointerLeave={leave}
    >
      {marks.map((mark, i) => (
        <g key={mark}>
          <line class={mark === 0 ? "zero" : "rule"} x1={EDGE.left} x2={WIDTH - EDGE.right} y1={y(mark)} y2={y(mark)} />
          <text x={EDGE.left - 6} y={y(mark) + 4} text-anchor="end">
            {written[i]}
          </text>
        </g>
      ))}
      {[0, 0.25, 0.5, 0.75, 1].map((share) => (
        <text key={share} x={x(share)} y={HEIGHT - EDGE.bottom + 15} text-anchor={share === 1 ? "end" : "middle"}>
          {percent(share, 0)}
        </text>
      ))}
      <text x={(EDGE.left + WIDTH - EDGE.right) / 2} y={HEIGHT - 4} text-anchor="middle">
        {axis}
      </text>
      {under !== null && (
        <line class="under" x1={x(at[under]!)} x2={x(at[under]!)} y1={EDGE.top} y2={HEIGHT - EDGE.bottom} />
      )}
      {curves.map(
        (c) =>
          c.low &&
          c.high && (
            <path key={c.name} d={band(at, c.low, c.high, x, y)} fill={c.colour} opacity={faint(c) ? 0.04 : 0.13} />
          ),
      )}
      {curves.map((c) => (
        <path
          key={c.name}
          d={line(at, c.mean, x, y)}
          fill="none"
          stroke={c.colour}
          stroke-width={bold === c.name ? 3 : 1.75}
          stroke-dasharray={c.dash}
          opacity={faint(c) ? 0.3 : 1}
        />
      ))}
    </svg>
  );
}
