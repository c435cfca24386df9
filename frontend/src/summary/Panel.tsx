// The frame of a panel, and the sentence about its sample.
import type { ComponentChildren } from "preact";
import { count } from "../format/numbers";
import { view } from "../state/view";
import styles from "./Summary.module.css";

interface Props {
  id: string;
  title: string;
  note: ComponentChildren;
  children?: ComponentChildren;
}

export function Panel({ id, title, note, children }: Props) {
  return (
    <section class={styles.panel} aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      <p class="note">{note}</p>
      {children}
    </section>
  );
}

/** The filter of the examples, as the end of a phrase. */
export const filterText = (): string => (view.value.filter ? `, filter ${view.value.filter}` : "");

/** How many examples a panel is computed from. */
export function sampleText({ sampled, examples }: { sampled: number; examples: number }): string {
  if (sampled >= examples) return `All ${count(examples)} examples.`;
  return `A sample: ${count(sampled)} of ${count(examples)} examples${filterText()}.`;
}
