// A beeswarm of each feature: attributions along the axis, feature values as shades.
import { useEffect, useRef } from "preact/hooks";
import type { FeaturePoints } from "../api/types";
import { short } from "../format/numbers";
import { css, mapColour } from "../maps/colour";
import { type Theme, theme } from "../state/host";
import styles from "./Beeswarm.module.css";

const [WIDTH, ROW] = [360, 30];
/** Where the axis begins, right of the names. */
const LEFT = 118;
const RADIUS = 2.2;
/** Points that are closer than this on the axis are stacked. */
const BIN = 3;

export function Beeswarm({ features, title }: { features: readonly FeaturePoints[]; title: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const attributions = features.flatMap(({ points }) => points.flatMap(([a]) => (a === null ? [] : [a])));
  const [low, high] = [Math.min(0, ...attributions), Math.max(0, ...attributions)];
  const height = ROW * features.length;
  const pixelRatio = Math.max(1, devicePixelRatio);
  const shownTheme = theme.value;
  useEffect(() => {
    const x = (a: number): number => LEFT + 6 + ((a - low) / (high - low || 1)) * (WIDTH - LEFT - 14);
    const context = canvas.current?.getContext("2d");
    if (!context) return;
    context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
    context.clearRect(0, 0, WIDTH, height);
    drawZero(context, x(0), height, shownTheme);
    features.forEach(({ points }, i) => {
      drawPoints(context, points, x, ROW * (i + 0.5));
    });
  }, [features, shownTheme]);
  const spoken = features.map(({ feature, mean }) => `${feature} ${short(mean)}`).join(", ");
  return (
    <>
      <div class={styles.swarm} style={{ height: `${height}px` }}>
        <canvas
          ref={canvas}
          width={WIDTH * pixelRatio}
          height={height * pixelRatio}
          style={{ width: `${WIDTH}px`, height: `${height}px` }}
          role="img"
          aria-label={`${title}: ${spoken}`}
        />
        {features.map(({ feature, mean }, i) => (
          <span key={feature} style={{ top: `${ROW * i}px` }} title={`${feature}: mean |a| ${short(mean)}`}>
            {feature}
          </span>
        ))}
      </div>
      <p class={`note ${styles.ends}`}>
        <span>{short(low)}</span>
        <span>attribution</span>
        <span>{short(high)}</span>
      </p>
    </>
  );
}

function drawZero(context: CanvasRenderingContext2D, x: number, height: number, shownTheme: Theme): void {
  context.strokeStyle = shownTheme === "dark" ? "#66696d" : "#c9cdd2";
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, height);
  context.stroke();
}

/** The points of one feature around the line at `middle`, stacked where they would overlap. */
function drawPoints(
  context: CanvasRenderingContext2D,
  points: FeaturePoints["points"],
  x: (attribution: number) => number,
  middle: number,
): void {
  const values = points.flatMap(([, value]) => (value === null ? [] : [value])).sort((a, b) => a - b);
  const rankOf = (value: number | null): number =>
    value === null || values.length < 2 ? 0.5 : values.findIndex((v) => v >= value) / (values.length - 1);
  const stacked = new Map<number, number>();
  for (const [a, value] of points) {
    if (a === null) continue;
    const bin = Math.round(x(a) / BIN);
    const n = stacked.get(bin) ?? 0;
    stacked.set(bin, n + 1);
    const offset = (n % 2 ? 1 : -1) * Math.ceil(n / 2) * RADIUS;
    const y = middle + Math.max(-ROW / 2 + 3, Math.min(ROW / 2 - 3, offset));
    context.fillStyle = css(mapColour(0.25 + 0.75 * rankOf(value), 1, false));
    context.beginPath();
    context.arc(x(a), y, RADIUS, 0, 7);
    context.fill();
  }
}
