// A histogram of the completeness gaps of each method; a bar filters the examples.
import type { Gaps } from "../api/types";
import { count, percent } from "../format/numbers";
import { addFilterTerm } from "../state/view";
import styles from "./GapPanel.module.css";
import { filterText, Panel } from "./Panel";

const BAR_HEIGHT = 90;

/** The least share that is told; smaller ones are as good as none. */
const LEAST = 0.001;

const gap = (value: number | null): string =>
  value !== null && value < LEAST ? `below ${percent(LEAST)}` : percent(value);

export function GapPanel({ summary }: { summary: Gaps }) {
  const { edges, histograms } = summary;
  if (histograms.length === 0) return null;
  const examples = Math.max(...histograms.map(({ known, unknown }) => known + unknown));
  const note = `All ${count(examples)} examples${filterText()}; the gap as a share of f(x) − f(baseline). Click a bar to see its examples.`;
  return (
    <Panel id="gaps" title="Completeness gap" note={note}>
      <div class="charts">
        {histograms.map(({ method, title, counts, median, p95, unknown }) => (
          <figure key={method}>
            <figcaption>{title}</figcaption>
            <Histogram method={method} counts={counts} edges={edges} />
            <p class="note">
              median {gap(median)}, 95 % of them below {p95 === null ? percent(p95) : percent(Math.max(p95, LEAST))}
              {unknown > 0 && `; unknown for ${count(unknown)}`}
            </p>
          </figure>
        ))}
      </div>
    </Panel>
  );
}

/** One bar a bin; the last one is of all gaps above the last edge. */
function Histogram({ method, counts, edges }: { method: string; counts: readonly number[]; edges: readonly number[] }) {
  const largest = Math.max(1, ...counts);
  return (
    <div class={styles.bars}>
      {counts.map((n, i) => {
        const [low, high] = [edges[i]!, edges[i + 1]];
        const range = high === undefined ? `over ${percent(low, 0)}` : `${percent(low, 1)} to ${percent(high, 1)}`;
        const term = high === undefined ? `${method}.gap>${low}` : `${method}.gap:${low}..${high}`;
        return (
          <button
            key={low}
            type="button"
            disabled={n === 0}
            title={`${range}: ${count(n)} examples`}
            onClick={() => addFilterTerm(term)}
          >
            <span class={styles.count}>{n > 0 ? count(n) : ""}</span>
            <span class="unseen"> examples with a gap up to </span>
            <span class={styles.bar} style={{ height: `${n ? Math.max(2, (n / largest) * BAR_HEIGHT) : 0}px` }} />
            <span class={styles.edge}>
              {high === undefined ? `>${percent(1, 0)}` : percent(high, high < 0.01 ? 1 : 0)}
            </span>
          </button>
        );
      })}
    </div>
  );
}
