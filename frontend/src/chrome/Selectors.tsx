// What the columns are, and the one step, class and method that is shown of the others.
import { useState } from "preact/hooks";
import type { Pivot, StoreInfo } from "../api/types";
import { className } from "../format/names";
import { count } from "../format/numbers";
import { page } from "../state/loaded";
import { stores } from "../state/stores";
import { change, view } from "../state/view";
import { Field, type Option, Select, Toggle } from "./Fields";
import styles from "./Toolbar.module.css";

const PIVOT_TITLES: Record<Pivot, string> = { methods: "methods", steps: "steps", runs: "runs", targets: "classes" };

export function Selectors({ info }: { info: StoreInfo }) {
  const { pivot, target, method, store, change: showsChange } = view.value;
  const { steps = [], targets = null } = page.value?.page.header ?? {};
  const runs = (stores.value?.stores ?? []).filter(
    (s) => s.error === undefined && s.store === store && s.modality === info.modality,
  );
  const offered: Record<Pivot, boolean> = {
    methods: true,
    steps: steps.length > 1,
    runs: runs.length > 1,
    targets: targets !== null,
  };
  const pivots = (Object.keys(offered) as Pivot[]).filter((name) => offered[name] || name === pivot);
  const classes = (targets ?? []).map((t): Option<string> => [String(t.id), className(t.id, t.name)]);
  return (
    <>
      {steps.length > 1 && pivot !== "steps" && <StepField steps={steps} />}
      {targets && pivot !== "targets" && (
        <Field name="Explaining">
          <Select
            name="Explaining"
            value={target ?? ""}
            options={[["", "predicted class"], ["label", "label"], ...classes]}
            select={(value) => change({ target: value || null })}
          />
        </Field>
      )}
      {pivots.length > 1 && (
        <Field name="Columns">
          <Select
            name="Columns"
            value={pivot}
            options={pivots.map((name) => [name, PIVOT_TITLES[name]] as const)}
            select={(value) => change({ pivot: value, scope: null }, true)}
          />
        </Field>
      )}
      {pivot !== "methods" && (
        <Field name="Method">
          <Select
            name="Method"
            value={method ?? info.methods[0]?.id ?? ""}
            options={info.methods.map(({ id, title }) => [id, title] as const)}
            select={(value) => change({ method: value })}
          />
        </Field>
      )}
      {(pivot === "steps" || pivot === "runs") && info.modality !== "text" && (
        <Toggle
          name="change"
          title="a column of the last map minus the first"
          checked={showsChange}
          set={(checked) => change({ change: checked })}
        />
      )}
    </>
  );
}

/** A slider over the steps; a step between two of them shows the earlier one. */
function StepField({ steps }: { steps: readonly number[] }) {
  const { step } = view.value;
  const last = steps.length - 1;
  const index =
    step === null
      ? last
      : Math.max(
          0,
          steps.findLastIndex((s) => s <= step),
        );
  const [dragged, setDragged] = useState<number | null>(null); // nothing is requested while dragging
  const shown = steps[dragged ?? index]!;
  const select = (next: number): void => {
    setDragged(null);
    if (next !== index) change({ step: next === last ? null : steps[next]! });
  };
  return (
    <Field name="Step">
      <input
        class={styles.steps}
        type="range"
        min={0}
        max={last}
        step={1}
        value={dragged ?? index}
        aria-label="Step"
        aria-valuetext={`step ${count(shown)}`}
        onInput={(event) => setDragged(Number(event.currentTarget.value))}
        onChange={(event) => select(Number(event.currentTarget.value))}
      />
      <output>{count(shown)}</output>
    </Field>
  );
}
