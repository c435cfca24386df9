// A table of all measures: a row for each method, and one for the chance level.
import type { Faithfulness, Mean, Measure, MeasureMean } from "../api/types";
import { parameterTexts } from "../format/names";
import { count, plusMinus, short } from "../format/numbers";
import { Better } from "./Better";
import styles from "./MeasureTable.module.css";

/** The name of the chance level. */
export const CHANCE = "random maps";

interface Props {
  summary: Faithfulness;
  methods: Faithfulness["methods"];
  /** Called with the method under the pointer. */
  pointed: (title: string | null) => void;
}

export function MeasureTable({ summary, methods, pointed }: Props) {
  const { measures, means, evaluation } = summary;
  const rankings = new Map(evaluation?.methods.map((m) => [m.id, m]));
  const isRanked = evaluation !== null && evaluation.ranked_by.length > 0;
  const hasSanity = [...rankings.values()].some(({ sanity }) => sanity !== null);
  const chanceOf = (measure: Measure): Mean | undefined =>
    methods.map(({ id }) => means[id]![measure.id]?.random).find((random) => random);
  return (
    <section class="scroll" tabIndex={0} aria-label="numbers of each method">
      <table>
        <thead>
          <tr>
            <th scope="col">method</th>
            {isRanked && (
              <th scope="col" title={`over the maps, by ${evaluation.ranked_by.join(", ")}; 1 is best`}>
                mean rank ↓
              </th>
            )}
            {measures.map((measure) => (
              <th key={measure.id} scope="col" title={parameterTexts(measure.parameters).join("\n")}>
                {measure.title} <Better measure={measure} />
              </th>
            ))}
            {hasSanity && (
              <th
                scope="col"
                title="how similar its maps remain when the model's weights are random: near 1, they do not depend on the model"
              >
                sanity ↓
              </th>
            )}
            {evaluation && <th scope="col">evaluations</th>}
          </tr>
        </thead>
        <tbody>
          {methods.map(({ id, title }) => {
            const ranking = rankings.get(id);
            const interval = ranking && `95 %: ${rankText(ranking.low)} to ${rankText(ranking.high)}`;
            return (
              <tr key={id} onPointerEnter={() => pointed(title)} onPointerLeave={() => pointed(null)}>
                <th scope="row">{title}</th>
                {isRanked && <td title={interval}>{ranking && rankText(ranking.mean_rank)}</td>}
                {measures.map((measure) => (
                  <MeasureCell key={measure.id} mean={means[id]![measure.id]} measure={measure} />
                ))}
                {hasSanity && <td>{short(ranking?.sanity ?? null)}</td>}
                {evaluation && <td>{ranking && count(Math.round(ranking.evaluations))}</td>}
              </tr>
            );
          })}
          <tr class={styles.chance}>
            <th scope="row">{CHANCE}</th>
            {isRanked && <td />}
            {measures.map((measure) => {
              const chance = chanceOf(measure);
              return <td key={measure.id}>{chance ? meanText(chance) : ""}</td>;
            })}
            {hasSanity && <td />}
            {evaluation && <td />}
          </tr>
        </tbody>
      </table>
      <p class="note">Grey: not significantly better than random maps (the 95 % intervals overlap).</p>
    </section>
  );
}

function MeasureCell({ mean, measure }: { mean: MeasureMean | undefined; measure: Measure }) {
  if (!mean || mean.mean === null) return <td title="not computed, or undefined for every map">–</td>;
  const isFaint = mean.random ? !isBetter(mean, mean.random, measure.better) : false;
  const chance = mean.random ? `; random maps ${meanText(mean.random)}` : "";
  const title = `${count(mean.n)} maps; 95 %: ${short(mean.low)} to ${short(mean.high)}${chance}`;
  return (
    <td class={isFaint ? "faint" : ""} title={title}>
      {meanText(mean)}
    </td>
  );
}

/** Whether a mean is better than chance and their intervals do not overlap. */
export function isBetter(mean: Mean, chance: Mean, better: "higher" | "lower"): boolean {
  if (mean.low === null || mean.high === null || chance.low === null || chance.high === null) return false;
  return better === "higher" ? mean.low > chance.high : mean.high < chance.low;
}

const rankText = (rank: number | null): string => rank?.toFixed(2) ?? "–";

function meanText({ mean, low, high }: Mean): string {
  if (mean === null) return "–";
  return low === null || high === null ? short(mean) : plusMinus(mean, (high - low) / 2);
}
