// An arrow in the direction of a measure's better values.
import type { Measure } from "../api/types";
import styles from "./Better.module.css";

export function Better({ measure, ofCurve = false }: { measure: Measure; ofCurve?: boolean }) {
  const subject = ofCurve && measure.id !== "sensitivity_n" ? "curve" : "value";
  return (
    <span class={styles.better} title={`a ${measure.better} ${subject} is better`}>
      {measure.better === "higher" ? "↑" : "↓"} <span class="unseen">{measure.better} is better</span>
    </span>
  );
}
