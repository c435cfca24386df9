// The Summary: what all maps of the store say together, in four panels.
import { summaries } from "../state/loaded";
import { AgreementPanel } from "./AgreementPanel";
import { FaithfulnessPanel } from "./FaithfulnessPanel";
import { GapPanel } from "./GapPanel";
import { GlobalPanel } from "./GlobalPanel";
import styles from "./Summary.module.css";

export function Summary() {
  const { faithfulness, gap, agreement, global } = summaries.value;
  return (
    <div class={styles.summary} aria-busy={!global}>
      {faithfulness && <FaithfulnessPanel summary={faithfulness} />}
      {gap && <GapPanel summary={gap} />}
      {agreement && <AgreementPanel summary={agreement} />}
      {global && <GlobalPanel summary={global} />}
      {!global && <p class="note">reading …</p>}
    </div>
  );
}
