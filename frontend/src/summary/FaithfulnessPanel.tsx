// How faithful the maps of each method are, next to the chance level: curves, and a table of all measures.
import { computed, signal } from "@preact/signals";
import type { Faithfulness, Measure, MeasureMean } from "../api/types";
import { meanCurve } from "../charts/axes";
import { type Curve, LineChart } from "../charts/LineChart";
import { chanceSeries, series } from "../charts/series";
import { count, shortPercent } from "../format/numbers";
import { theme } from "../state/host";
import { Better } from "./Better";
import styles from "./FaithfulnessPanel.module.css";
import { CHANCE, MeasureTable } from "./MeasureTable";
import { Panel } from "./Panel";

type Methods = Faithfulness["methods"];

/** The method under the pointer, and the chosen one; either is emphasized in all charts. */
const pointed = signal<string | null>(null);
const chosen = signal<string | null>(null);
const bold = computed(() => pointed.value ?? chosen.value);

const setPointed = (title: string | null): void => {
  pointed.value = title;
};

const PRECISIONS: Record<string, string> = { tf32: "TF32", mixed: "Mixed precision", float64: "Float64" };

/** How far the maps differ from those in float32, where they were computed in another precision. */
export function precisionText(precision: Faithfulness["precision"]): string {
  if (precision === null) return "";
  const name = PRECISIONS[precision.precision] ?? precision.precision;
  if (precision.without_tf32)
    return `${name} changes nothing on a CPU: ${count(precision.without_tf32)} examples are in float32.`;
  if (precision.errors.length === 0) return `${name}: this store does not say how far its maps differ from float32.`;
  const parts = precision.errors.map(({ title, examples, median, worst, rank_correlation }) => {
    const correlation = rank_correlation === null ? "" : `, rank correlation ${rank_correlation.toFixed(3)}`;
    return `by ${shortPercent(median)} (median; ${shortPercent(worst)} at worst${correlation}; ${count(examples)} examples) for ${title}`;
  });
  return `${name}: maps differ from float32 ${parts.join(", ")}.`;
}

function PrecisionLine({ summary }: { summary: Faithfulness }) {
  return summary.precision && <p class={styles.advice}>{precisionText(summary.precision)}</p>;
}

export function FaithfulnessPanel({ summary }: { summary: Faithfulness }) {
  const { measures, means, evaluation } = summary;
  if (measures.length === 0)
    return (
      <Panel
        id="faithfulness"
        title="Faithfulness"
        note={
          <>
            This store holds no measures: nothing says how far its maps can be believed. Run the pipeline with{" "}
            <code>--measures deletion,insertion,sensitivity_n</code>, or rank the methods by{" "}
            <code>tb-deepexplain evaluate</code>.
          </>
        }
      >
        <PrecisionLine summary={summary} />
      </Panel>
    );
  const methods = rankedMethods(summary).filter(({ id }) => means[id]);
  const curved = measures.filter(({ id, axis }) => axis && methods.some((m) => means[m.id]![id]?.curve));
  return (
    <Panel id="faithfulness" title="Faithfulness" note={sampleNote(summary, methods)}>
      <PrecisionLine summary={summary} />
      {evaluation && <p class={styles.advice}>{evaluation.advice}</p>}
      <SeriesButtons methods={methods} />
      <div class="charts">
        {curved.map((measure) => (
          <figure key={measure.id}>
            <figcaption>
              {measure.title} <Better measure={measure} ofCurve />
            </figcaption>
            <LineChart
              title={measure.title}
              axis={measure.axis!}
              bold={bold.value}
              {...curvesOf(summary, methods, measure)}
            />
          </figure>
        ))}
      </div>
      <MeasureTable summary={summary} methods={methods} pointed={setPointed} />
    </Panel>
  );
}

/** The methods, the best first if `tb-deepexplain evaluate` has ranked them. */
function rankedMethods({ methods, evaluation }: Faithfulness): Methods {
  const order = evaluation?.methods.map(({ id }) => id);
  return order ? [...methods].sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id)) : methods;
}

function sampleNote({ examples, superpixels, step, means }: Faithfulness, methods: Methods): string {
  const measured = Math.max(0, ...methods.flatMap(({ id }) => Object.values(means[id]!).map(({ n }) => n)));
  const sample =
    measured < examples
      ? `A sample: ${count(measured)} of ${count(examples)} examples`
      : `All ${count(examples)} examples`;
  const groups = superpixels ? ` over ${superpixels} superpixels a picture,` : "";
  const ofStep = step === null ? "" : ` at step ${count(step)}`;
  return `${sample}${ofStep}; means with their 95 % intervals,${groups} beside maps of random numbers.`;
}

/** The legend of the charts; each name emphasizes its curves. */
function SeriesButtons({ methods }: { methods: Methods }) {
  const all = [
    ...methods.map(({ title }, i) => ({ title, ...series(i, theme.value) })),
    { title: CHANCE, ...chanceSeries(theme.value) },
  ];
  const toggle = (title: string): void => {
    chosen.value = chosen.value === title ? null : title;
  };
  return (
    <ul class={styles.series} onPointerLeave={() => setPointed(null)}>
      {all.map(({ title, colour, dash }) => (
        <li key={title}>
          <button
            type="button"
            aria-pressed={chosen.value === title}
            onPointerEnter={() => setPointed(title)}
            onClick={() => toggle(title)}
          >
            <svg width="22" height="8" aria-hidden="true">
              <path d="M0 4H22" stroke={colour} stroke-width="2.5" stroke-dasharray={dash} />
            </svg>
            {title}
          </button>
        </li>
      ))}
    </ul>
  );
}

/** The curves of a measure: one for each method, and one for the chance level. */
export function curvesOf(
  { means }: Faithfulness,
  methods: Methods,
  measure: Measure,
): { at: number[]; curves: Curve[] } {
  const known = methods.flatMap(({ id, title }, i): { i: number; title: string; mean: MeasureMean }[] => {
    const mean = means[id]![measure.id];
    return mean?.curve?.mean ? [{ i, title, mean }] : [];
  });
  const curves = known.map(({ i, title, mean: { curve } }): Curve => {
    const { mean, low, high } = curve!;
    return { name: title, mean: mean ?? [], low: low ?? undefined, high: high ?? undefined, ...series(i, theme.value) };
  });
  // Random maps do not depend on the method: all of them are one sample.
  const chance = known.flatMap(({ mean }) => (mean.random_curve?.mean ? [mean.random_curve] : []));
  const meanOf = (end: "mean" | "low" | "high"): (number | null)[] =>
    meanCurve(chance.flatMap((curve) => (curve[end] ? [curve[end]] : [])));
  if (chance.length > 0) {
    const curve = { mean: meanOf("mean"), low: meanOf("low"), high: meanOf("high") };
    curves.push({ name: CHANCE, ...curve, ...chanceSeries(theme.value) });
  }
  return { at: (known[0]?.mean.at ?? []).map((v) => v ?? 0), curves };
}
