// The Summary: what all maps of the store say together, a panel for each question.
import type { ComponentType } from "preact";
import type { Summaries } from "../api/types";
import { summaries } from "../state/loaded";
import { PANELS } from "../state/loadSummaries";
import { AgreementPanel } from "./AgreementPanel";
import { FaithfulnessPanel } from "./FaithfulnessPanel";
import { GapPanel } from "./GapPanel";
import { GlobalPanel } from "./GlobalPanel";
import styles from "./Summary.module.css";

const COMPONENTS: { [P in keyof Summaries]: ComponentType<{ summary: Summaries[P] }> } = {
  faithfulness: FaithfulnessPanel,
  gap: GapPanel,
  agreement: AgreementPanel,
  global: GlobalPanel,
};

export function Summary() {
  const isLoading = PANELS.some((panel) => !summaries.value[panel]);
  return (
    <div class={styles.summary} aria-busy={isLoading}>
      {PANELS.map((panel) => (
        <LoadedPanel key={panel} panel={panel} />
      ))}
      {isLoading && <p class="note">reading …</p>}
    </div>
  );
}

function LoadedPanel<P extends keyof Summaries>({ panel }: { panel: P }) {
  const summary: Summaries[P] | undefined = summaries.value[panel];
  const Component: ComponentType<{ summary: Summaries[P] }> = COMPONENTS[panel];
  return summary ? <Component summary={summary} /> : null;
}
