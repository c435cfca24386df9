// The controls over the grid: which store, which examples, how they are drawn.
import type { ComponentChildren } from "preact";
import { PANES, SORTS, TILE_SIZES, type Pane, type Sort } from "./hash";
import { change, helpOpen, page, store, stores, view } from "./model";
import { CLIPS, SCOPE_TITLES, SCOPES, type Clip, type Scope } from "./quantiles";

const SORT_TITLES: Record<Sort, string> = {
  errors: "misclassified, then gap",
  gap: "gap",
  score: "score",
  probability: "probability",
  id: "id",
};

function Field({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span>{name}</span>
      {children}
    </label>
  );
}

function Select<T extends string>(props: { name: string; value: T; options: readonly (readonly [T, string])[]; pick: (value: T) => void }) {
  return (
    <select aria-label={props.name} value={props.value} onChange={(event) => props.pick(event.currentTarget.value as T)}>
      {props.options.map(([value, title]) => (
        <option key={value} value={value} selected={value === props.value}>
          {title}
        </option>
      ))}
    </select>
  );
}

const PANE_TITLES: Record<Pane, string> = { examples: "Examples", summary: "Summary" };

export function Toolbar() {
  const v = view.value;
  return (
    <header class="toolbar">
      <nav class="panes" aria-label="views">
        {PANES.map((pane) => (
          <button key={pane} type="button" aria-current={v.pane === pane ? "page" : undefined} onClick={() => change({ pane }, true)}>
            {PANE_TITLES[pane]}
          </button>
        ))}
      </nav>
      <StoreField />
      {v.pane === "examples" && <GridControls />}
      {v.pane === "summary" && <div class="spring" />}
      <button type="button" class="icon" title="keyboard (?)" aria-label="keyboard help" onClick={() => (helpOpen.value = true)}>
        ?
      </button>
    </header>
  );
}

function GridControls() {
  const v = view.value;
  return (
    <>
      <StepField />
      <TargetField />
      <Field name="Sort">
        <Select name="Sort" value={v.sort} options={SORTS.map((s) => [s, SORT_TITLES[s]] as const)} pick={(sort) => change({ sort, descending: sort !== "id" })} />
      </Field>
      <button
        type="button"
        class="icon"
        title={v.descending ? "largest first" : "smallest first"}
        aria-label={v.descending ? "sorted largest first; reverse" : "sorted smallest first; reverse"}
        onClick={() => change({ descending: !v.descending })}
      >
        {v.descending ? "↓" : "↑"}
      </button>
      <label class="toggle">
        <input type="checkbox" checked={v.misclassified} onChange={(e) => change({ misclassified: e.currentTarget.checked })} />
        <span>misclassified only</span>
      </label>
      <div class="spring" />
      <Field name="Clip">
        <Select<Clip> name="Clip" value={v.clip} options={CLIPS.map((c) => [c, c] as const)} pick={(clip) => change({ clip })} />
      </Field>
      <Field name="Scale">
        <Select<Scope> name="Scale" value={v.scope} options={SCOPES.map((s) => [s, SCOPE_TITLES[s]] as const)} pick={(scope) => change({ scope })} />
      </Field>
      <div class="segments" role="radiogroup" aria-label="tile size">
        {TILE_SIZES.map((size, i) => (
          <label key={size} title={`${size} px`}>
            <input type="radio" name="size" checked={v.tile === size} onChange={() => change({ tile: size })} aria-label={`${size} pixels`} />
            <span style={{ width: `${6 + 3 * i}px`, height: `${6 + 3 * i}px` }} />
          </label>
        ))}
      </div>
    </>
  );
}

function StoreField() {
  const v = view.value;
  const all = stores.value?.stores ?? [];
  const runs = new Set(all.map((s) => s.run));
  const title = (run: string, name: string): string => (runs.size === all.length ? run : `${run} / ${name}`);
  const options = all.map((s) => [JSON.stringify([s.run, s.store]), `${title(s.run, s.store)}${s.error === undefined ? "" : " (unreadable)"}`] as const);
  const present = JSON.stringify([v.run, v.store]);
  if (!options.some(([value]) => value === present)) options.unshift([present, v.run ? `${v.run} / ${v.store} (not found)` : "none"]);
  const pick = (value: string): void => {
    const [run, name] = JSON.parse(value) as [string, string];
    change({ run, store: name, step: null, target: null });
  };
  return (
    <Field name="Run">
      <Select name="Run" value={present} options={options} pick={pick} />
    </Field>
  );
}

function StepField() {
  const steps = page.value?.page.header.steps ?? [];
  if (steps.length < 2) return null;
  const options = steps.map((s) => [String(s), String(s)] as const);
  return (
    <Field name="Step">
      <Select name="Step" value={String(view.value.step ?? steps[steps.length - 1])} options={options} pick={(step) => change({ step: Number(step) })} />
    </Field>
  );
}

function TargetField() {
  const targets = page.value?.page.header.targets;
  if (!targets || store.value === null) return null;
  const options: [string, string][] = [
    ["", "predicted class"],
    ["label", "label"],
    ...targets.map((t): [string, string] => [String(t.id), t.name ?? `class ${t.id}`]),
  ];
  return (
    <Field name="Explaining">
      <Select name="Explaining" value={view.value.target ?? ""} options={options} pick={(target) => change({ target: target || null })} />
    </Field>
  );
}
