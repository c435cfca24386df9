// The colours and dashes that tell the curves of a chart apart.
import type { Theme } from "../state/host";

// Distinct with colour blindness, and unlike the red and blue of maps (after Okabe and Ito).
const SERIES: Record<Theme, readonly string[]> = {
  light: ["#0072b2", "#d55e00", "#00875f", "#b3528f", "#8a6d00", "#3a3a3a", "#6a51a3", "#2a9fd6"],
  dark: ["#5ab4f0", "#ff9152", "#3ccfa0", "#f0a6cd", "#dfc04d", "#e8e8e8", "#b9a8ec", "#9fdcff"],
};
const DASHES = ["", "6 3", "2 2"];

/** The look of the series with this number: eight colours, then the same ones dashed. */
export function series(number: number, theme: Theme): { colour: string; dash: string } {
  const colours = SERIES[theme];
  return {
    colour: colours[number % colours.length]!,
    dash: DASHES[Math.floor(number / colours.length) % DASHES.length]!,
  };
}

/** The look of the chance level: maps of random numbers. */
export const chanceSeries = (theme: Theme): { colour: string; dash: string } => ({
  colour: theme === "dark" ? "#9aa0a6" : "#80868b",
  dash: "3 3",
});
