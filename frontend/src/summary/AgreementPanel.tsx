// The rank correlation of each pair of methods.
import type { Agreements, MethodPair, SummaryMethod } from "../api/types";
import { count, MINUS, percent } from "../format/numbers";
import { css, ramp, readable, SEQUENTIAL } from "../maps/colour";
import { page } from "../state/loaded";
import { change } from "../state/view";
import styles from "./AgreementPanel.module.css";
import { MethodHeaders } from "./MethodHeaders";
import { Panel, sampleText } from "./Panel";

/** The lighter part of the ramp, on which numbers are readable. */
const COLOURS = SEQUENTIAL.slice(0, 6);

export function AgreementPanel({ summary }: { summary: Agreements }) {
  const { methods, pairs } = summary;
  if (pairs.length === 0) return null;
  const pairOf = (a: string, b: string): MethodPair | undefined =>
    pairs.find((pair) => (pair.a === a && pair.b === b) || (pair.a === b && pair.b === a));
  const canSort = page.value?.page.header.fields.includes("disagreement") ?? false;
  const showDisagreement = (): void => change({ pane: "examples", sort: "disagreement", descending: true }, true);
  const note = `${sampleText(summary)} Mean rank correlation of |a|; 1 where both call the same features important, 0 as by chance.`;
  return (
    <Panel id="agreement" title="Agreement between methods" note={note}>
      <section class="scroll" tabIndex={0} aria-label="agreement of each pair of methods">
        <table class={styles.matrix}>
          <thead>
            <tr>
              <td />
              <MethodHeaders methods={methods} />
            </tr>
          </thead>
          <tbody>
            {methods.map((row) => (
              <tr key={row.id}>
                <th scope="row">{row.title}</th>
                {methods.map((column) => (
                  <AgreementCell key={column.id} row={row} column={column} pair={pairOf(row.id, column.id)} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {canSort && (
        <button type="button" class="primary" onClick={showDisagreement}>
          Where they disagree most
        </button>
      )}
    </Panel>
  );
}

function AgreementCell({
  row,
  column,
  pair,
}: {
  row: SummaryMethod;
  column: SummaryMethod;
  pair: MethodPair | undefined;
}) {
  if (!pair || pair.spearman === null) return <td>{pair ? "–" : ""}</td>;
  const { spearman, n, top, signs } = pair;
  const back = ramp(COLOURS, Math.max(0, spearman));
  const top10 = `the tenth with the largest |a| ${percent(top, 0)} in common`;
  const ofSigns = signs === null ? "" : `, ${percent(signs, 0)} of signs`;
  return (
    <td
      style={{ background: css(back), color: css(readable(back)) }}
      title={`${row.title} and ${column.title}, ${count(n)} examples: ${top10}${ofSigns}`}
    >
      {spearman.toFixed(2).replace("-", MINUS)}
    </td>
  );
}
