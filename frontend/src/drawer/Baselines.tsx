// The baselines that f(baseline) is the score of: each one once, with its methods.
import type { Column, ExampleFacts, Modality } from "../api/types";
import { short } from "../format/numbers";
import placeholderStyles from "../maps/Placeholder.module.css";
import styles from "./Baselines.module.css";

interface Baseline {
  value: unknown;
  /** A small PNG as base64, of a baseline that is a picture. */
  picture: string | undefined;
  methods: string[];
}

/** The different baselines of the methods in the columns. */
export function baselinesOf(facts: ExampleFacts, columns: readonly Column[]): Baseline[] {
  const shown = new Set(columns.map((column) => column.method.id));
  const baselines = new Map<string, Baseline>();
  for (const { id, title, baseline: ofMethod, baseline_picture } of facts.methods) {
    if (!shown.has(id) || ofMethod === undefined) continue;
    const value = ofMethod ?? 0;
    const key = JSON.stringify(value);
    const baseline = baselines.get(key) ?? { value, picture: baseline_picture, methods: [] };
    baselines.set(key, baseline);
    baseline.methods.push(title);
  }
  return [...baselines.values()];
}

function describe({ value, picture }: Baseline, modality: Modality): string {
  if (picture) return "an array, as the model takes it";
  if (typeof value !== "number") return `${JSON.stringify(value)}, as the model takes it`;
  if (modality === "text") return `embeddings of ${value === 0 ? "zeros" : value} in place of all tokens`;
  return `${value} everywhere, as the model takes it`;
}

export function Baselines(props: { facts: ExampleFacts; columns: readonly Column[]; modality: Modality }) {
  const { facts, columns, modality } = props;
  const baselines = baselinesOf(facts, columns);
  if (baselines.length === 0) return null;
  return (
    <section class={styles.baselines}>
      <h3>{baselines.length > 1 ? "Baselines" : "Baseline"}</h3>
      {baselines.map((baseline) => (
        <figure key={baseline.methods[0]}>
          {baseline.picture ? (
            <img class={styles.picture} src={`data:image/png;base64,${baseline.picture}`} alt="baseline" />
          ) : (
            modality === "image" && (
              <div class={`${placeholderStyles.placeholder} ${styles.picture}`}>
                <span>{short(Number(baseline.value))}</span>
              </div>
            )
          )}
          <figcaption>
            {describe(baseline, modality)}
            <span class="note"> {baseline.methods.join(", ")}</span>
          </figcaption>
        </figure>
      ))}
    </section>
  );
}
