// A row of pictures with titles and legends, as one picture.
import { MINUS, short } from "../format/numbers";
import { gradientStops } from "../maps/colour";

export interface Plate {
  title: string;
  picture: CanvasImageSource;
  /** Height and width of the picture. */
  shape: readonly [number, number];
  legend: { clip: number; signed: boolean } | null;
}

const [GAP, TOP, FOOT] = [24, 56, 46];
const [TEXT, MUTED] = ["#202124", "#5f6368"];

/** Plates side by side on white, each with its title above and its legend below. */
export function sheet(caption: string, plates: readonly Plate[], side: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = GAP + plates.length * (side + GAP);
  canvas.height = TOP + side + FOOT;
  const context = canvas.getContext("2d")!;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.fillStyle = TEXT;
  context.font = "13px sans-serif";
  context.fillText(caption, GAP, 20, canvas.width - 2 * GAP);
  plates.forEach(({ title, picture, shape: [height, width], legend }, i) => {
    const x = GAP + i * (side + GAP);
    const factor = side / Math.max(height, width);
    context.fillStyle = TEXT;
    context.font = "bold 13px sans-serif";
    context.fillText(title, x, TOP - 10, side);
    context.drawImage(picture, x, TOP, width * factor, height * factor);
    if (legend) drawLegend(context, x, TOP + side, side, legend.clip, legend.signed);
  });
  return canvas;
}

function drawLegend(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  side: number,
  clip: number,
  signed: boolean,
): void {
  const ramp = context.createLinearGradient(x, 0, x + side, 0);
  const stops = gradientStops(signed);
  stops.forEach((colour, i) => {
    ramp.addColorStop(i / (stops.length - 1), colour);
  });
  context.fillStyle = ramp;
  context.fillRect(x, y + 10, side, 10);
  context.fillStyle = MUTED;
  context.font = "12px sans-serif";
  const end = short(clip);
  const right = signed ? `+${end}` : end;
  context.fillText(signed ? `${MINUS}${end}` : "0", x, y + 36);
  context.fillText(right, x + side - context.measureText(right).width, y + 36);
  if (signed) context.fillText("0", x + side / 2 - 3, y + 36);
}
