// What all maps of the store say together: how faithful each method is, and how far that is from chance.
import { computed, signal } from "@preact/signals";
import type { Faithfulness, Found, Mean, Measure } from "../api/types";
import { meanCurve, series } from "../charts/axes";
import { type Curve, LineChart } from "../charts/LineChart";
import { Failed } from "../chrome/States";
import { count, plusMinus, short } from "../format/numbers";
import { theme } from "../state/host";
import { summaries, summaryFailure } from "../state/model";
import { AgreementPanel, GapPanel, GlobalPanel } from "./SummaryPanels";

const RANDOM = "random maps";
/** The method under the pointer, and the one chosen: drawn strongly in all charts. */
const pointed = signal<string | null>(null);
const chosen = signal<string | null>(null);
const bold = computed(() => pointed.value ?? chosen.value);

export function Summary() {
  if (summaryFailure.value) return <Failed failure={summaryFailure.value} />;
  const { faithfulness, gap, agreement, global } = summaries.value;
  return (
    <div class="summary" aria-busy={!global}>
      {faithfulness && <FaithfulnessPanel of={faithfulness} />}
      {gap && <GapPanel of={gap} />}
      {agreement && <AgreementPanel of={agreement} />}
      {global && <GlobalPanel of={global} />}
      {!global && <p class="note">reading …</p>}
    </div>
  );
}

function FaithfulnessPanel({ of }: { of: Faithfulness }) {
  if (of.measures.length === 0) {
    return (
      <section class="panel" aria-labelledby="faithfulness">
        <h2 id="faithfulness">Faithfulness</h2>
        <p class="note">
          This store holds no measures: nothing says how far its maps can be believed. Run the pipeline with{" "}
          <code>--measures deletion,insertion,sensitivity_n</code>, or rank the methods by{" "}
          <code>tb-deepexplain evaluate</code>.
        </p>
      </section>
    );
  }
  const methods = ranked(of).filter((m) => of.found[m.id]);
  const curved = of.measures.filter(
    (measure) => measure.axis && methods.some((m) => of.found[m.id]![measure.id]?.curve),
  );
  const n = Math.max(0, ...methods.flatMap((m) => Object.values(of.found[m.id]!).map((f) => f.n)));
  return (
    <section class="panel" aria-labelledby="faithfulness">
      <h2 id="faithfulness">Faithfulness</h2>
      <p class="note">
        {n < of.examples
          ? `A sample: ${count(n)} of ${count(of.examples)} examples`
          : `All ${count(of.examples)} examples`}
        ; means with their 95 % intervals,
        {of.superpixels ? ` over ${of.superpixels} superpixels a picture,` : ""} beside maps of random numbers.
      </p>
      {of.evaluation && <p class="advice">{of.evaluation.advice}</p>}
      <ul class="series" onPointerLeave={() => (pointed.value = null)}>
        {[
          ...methods.map((m, i) => ({ title: m.title, ...series(i, theme.value) })),
          { title: RANDOM, ...random() },
        ].map((s) => (
          <li key={s.title}>
            <button
              type="button"
              aria-pressed={chosen.value === s.title}
              onPointerEnter={() => (pointed.value = s.title)}
              onClick={() => (chosen.value = chosen.value === s.title ? null : s.title)}
            >
              <svg width="22" height="8" aria-hidden="true">
                <path d="M0 4H22" stroke={s.colour} stroke-width="2.5" stroke-dasharray={s.dash} />
              </svg>
              {s.title}
            </button>
          </li>
        ))}
      </ul>
      <div class="charts">
        {curved.map((measure) => (
          <figure key={measure.id}>
            <figcaption>
              {measure.title} <Better of={measure} curve />
            </figcaption>
            <LineChart
              title={measure.title}
              axis={measure.axis!}
              bold={bold.value}
              {...curvesOf(of, methods, measure)}
            />
          </figure>
        ))}
      </div>
      <Numbers of={of} methods={methods} />
    </section>
  );
}

interface Named {
  id: string;
  title: string;
}

/** The methods, best first where `evaluate` has ranked them. */
function ranked(of: Faithfulness): Named[] {
  const order = of.evaluation?.methods.map((m) => m.id);
  return order ? [...of.methods].sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id)) : of.methods;
}

const random = (): { colour: string; dash: string } => ({
  colour: theme.value === "dark" ? "#9aa0a6" : "#80868b",
  dash: "3 3",
});

function curvesOf(of: Faithfulness, methods: readonly Named[], measure: Measure): { at: number[]; curves: Curve[] } {
  const found = methods.flatMap((m, i): { i: number; title: string; told: Found }[] => {
    const told = of.found[m.id]![measure.id];
    return told?.curve?.mean ? [{ i, title: m.title, told }] : [];
  });
  const at = (found[0]?.told.at ?? []).map((v) => v ?? 0);
  const curves = found.map(({ i, title, told }) => ({
    ...{
      name: title,
      mean: told.curve!.mean ?? [],
      low: told.curve!.low ?? undefined,
      high: told.curve!.high ?? undefined,
    },
    ...series(i, theme.value),
  }));
  // A random map knows nothing of the method: all are one sample of the same.
  const chance = found.flatMap(({ told }) => (told.random_curve?.mean ? [told.random_curve] : []));
  const over = (end: "mean" | "low" | "high"): (number | null)[] =>
    meanCurve(chance.flatMap((c) => (c[end] ? [c[end]] : [])));
  if (chance.length)
    curves.push({ name: RANDOM, mean: over("mean"), low: over("low"), high: over("high"), ...random() });
  return { at, curves };
}

function Better({ of, curve }: { of: Measure; curve?: boolean }) {
  const what = curve && of.id !== "sensitivity_n" ? "curve" : "value";
  return (
    <span class="better" title={`a ${of.better} ${what} is better`}>
      {of.better === "higher" ? "↑" : "↓"} <span class="unseen">{of.better} is better</span>
    </span>
  );
}

function Numbers({ of, methods }: { of: Faithfulness; methods: readonly Named[] }) {
  const ranks = new Map(of.evaluation?.methods.map((m) => [m.id, m]));
  const judged = of.evaluation !== null && of.evaluation.ranked_by.length > 0;
  const sane = [...ranks.values()].some((m) => m.sanity !== null);
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="numbers of each method">
      <table>
        <thead>
          <tr>
            <th scope="col">method</th>
            {judged && (
              <th scope="col" title={`over the maps, by ${of.evaluation!.ranked_by.join(", ")}; 1 is best`}>
                mean rank ↓
              </th>
            )}
            {of.measures.map((measure) => (
              <th key={measure.id} scope="col" title={parameters(measure)}>
                {measure.title} <Better of={measure} />
              </th>
            ))}
            {sane && (
              <th
                scope="col"
                title="how alike its maps remain when the weights of the model are random: near 1, they do not show the model"
              >
                sanity ↓
              </th>
            )}
            {of.evaluation && <th scope="col">evaluations</th>}
          </tr>
        </thead>
        <tbody>
          {methods.map((m) => {
            const own = ranks.get(m.id);
            return (
              <tr
                key={m.id}
                onPointerEnter={() => (pointed.value = m.title)}
                onPointerLeave={() => (pointed.value = null)}
              >
                <th scope="row">{m.title}</th>
                {judged && (
                  <td title={own && `95 %: ${own.low.toFixed(2)} to ${own.high.toFixed(2)}`}>
                    {own?.mean_rank.toFixed(2)}
                  </td>
                )}
                {of.measures.map((measure) => (
                  <Value key={measure.id} told={of.found[m.id]![measure.id]} measure={measure} />
                ))}
                {sane && <td>{short(own?.sanity ?? null)}</td>}
                {of.evaluation && <td>{own && count(Math.round(own.evaluations))}</td>}
              </tr>
            );
          })}
          <tr class="chance">
            <th scope="row">{RANDOM}</th>
            {judged && <td />}
            {of.measures.map((measure) => {
              const first = methods.map((m) => of.found[m.id]![measure.id]?.random).find((r) => r);
              return <td key={measure.id}>{first ? number(first) : ""}</td>;
            })}
            {sane && <td />}
            {of.evaluation && <td />}
          </tr>
        </tbody>
      </table>
      <p class="note">Grey: no better than random maps, or not to be told from them (the 95 % intervals overlap).</p>
    </div>
  );
}

function Value({ told, measure }: { told: Found | undefined; measure: Measure }) {
  if (!told || told.mean === null) return <td title="not computed, or undefined for every map">–</td>;
  const lost = told.random ? !beats(told, told.random, measure.better) : false;
  return (
    <td
      class={lost ? "lost" : ""}
      title={`${count(told.n)} maps; 95 %: ${short(told.low)} to ${short(told.high)}${told.random ? `; random maps ${number(told.random)}` : ""}`}
    >
      {number(told)}
    </td>
  );
}

/** Whether the intervals part, on the right side. */
export function beats(own: Mean, chance: Mean, better: "higher" | "lower"): boolean {
  if (own.low === null || own.high === null || chance.low === null || chance.high === null) return false;
  return better === "higher" ? own.low > chance.high : own.high < chance.low;
}

function number(mean: Mean): string {
  if (mean.mean === null) return "–";
  return mean.low === null || mean.high === null ? short(mean.mean) : plusMinus(mean.mean, (mean.high - mean.low) / 2);
}

function parameters(measure: Measure): string {
  return Object.entries(measure.parameters)
    .map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
    .join("\n");
}
