// Where the maps come from: parameters of the methods, model, store.
import type { Column, ExampleFacts } from "../api/types";
import { parameterTexts } from "../format/names";
import factStyles from "../grid/ExampleFacts.module.css";
import { view } from "../state/view";
import styles from "./Origin.module.css";

export function Origin({ facts, columns }: { facts: ExampleFacts; columns: readonly Column[] }) {
  const stored = columns.filter((column) => !column.change);
  const methods = new Map(stored.map(({ method }) => [method.title, parameterTexts(method.parameters).join(", ")]));
  return (
    <section>
      <h3>Where they come from</h3>
      <dl class={`${factStyles.facts} ${styles.origin}`}>
        {[...methods].map(([title, parameters]) => (
          <>
            <dt>{title}</dt>
            <dd title={parameters}>{parameters || "no parameters"}</dd>
          </>
        ))}
        <dt>model</dt>
        <dd title={facts.model?.path ?? ""}>{facts.model?.path ?? "–"}</dd>
        <dt>store</dt>
        <dd>
          {view.value.run} / {view.value.store}, version {facts.version}
          {facts.created && `, ${facts.created}`}
        </dd>
      </dl>
    </section>
  );
}
