// The controls over the grid: which store, what the columns are, which examples, how they are drawn.
import { useState } from "preact/hooks";
import type { StoreInfo } from "../api/types";
import { count } from "../format/numbers";
import { CLIPS, type Clip, SCOPE_TITLES, SCOPES, type Scope } from "../maps/clips";
import { PANES, type Pane, type Pivot, TILE_SIZES } from "../state/address";
import { change, helpOpen, page, scope, store, stores, view } from "../state/model";
import { Field, type Option, Select } from "./Fields";
import { FilterBox } from "./FilterBox";
import { sortOptions, sortTitle } from "./sorts";

const PANE_TITLES: Record<Pane, string> = { examples: "Examples", summary: "Summary" };

export function Toolbar() {
  const v = view.value;
  const info = store.value?.error === undefined ? (store.value as StoreInfo | null) : null;
  return (
    <header class="toolbar">
      <div class="controls">
        <nav class="panes" aria-label="views">
          {PANES.map((pane) => (
            <button
              key={pane}
              type="button"
              aria-current={v.pane === pane ? "page" : undefined}
              onClick={() => change({ pane }, true)}
            >
              {PANE_TITLES[pane]}
            </button>
          ))}
        </nav>
        <StoreField />
        {info && v.pane === "examples" && <Selectors info={info} />}
        <div class="spring" />
        {info && v.pane === "examples" && <Display info={info} />}
        <button
          type="button"
          class="icon"
          title="keyboard (?)"
          aria-label="keyboard help"
          onClick={() => (helpOpen.value = true)}
        >
          ?
        </button>
      </div>
      {info && (
        <div class="controls">
          <FilterBox info={info} />
          {v.pane === "examples" && <SortField info={info} />}
        </div>
      )}
    </header>
  );
}

function StoreField() {
  const v = view.value;
  const all = stores.value?.stores ?? [];
  const runs = new Set(all.map((s) => s.run));
  const title = (run: string, name: string): string => (runs.size === all.length ? run : `${run} / ${name}`);
  const options = all.map(
    (s) =>
      [
        JSON.stringify([s.run, s.store]),
        `${title(s.run, s.store)}${s.error === undefined ? "" : " (unreadable)"}`,
      ] as const,
  );
  const present = JSON.stringify([v.run, v.store]);
  if (!options.some(([value]) => value === present))
    options.unshift([present, v.run ? `${v.run} / ${v.store} (not found)` : "none"]);
  const pick = (value: string): void => {
    const [run, name] = JSON.parse(value) as [string, string];
    change({ run, store: name, step: null, target: null, filter: "", sort: "errors", method: null, example: null });
  };
  return (
    <Field name="Run">
      <Select name="Run" value={present} options={options} pick={pick} />
    </Field>
  );
}

/** What the columns are, and the one of each other kind that is shown. */
function Selectors({ info }: { info: StoreInfo }) {
  const v = view.value;
  const header = page.value?.page.header;
  const steps = header?.steps ?? [];
  const targets = header?.targets ?? null;
  const others = (stores.value?.stores ?? []).filter(
    (s) => s.error === undefined && s.store === v.store && s.kind === info.kind,
  );
  const pivots: Option<Pivot>[] = [["methods", "methods"]];
  if (steps.length > 1 || v.pivot === "steps") pivots.push(["steps", "steps"]);
  if (others.length > 1 || v.pivot === "runs") pivots.push(["runs", "runs"]);
  if (targets || v.pivot === "targets") pivots.push(["targets", "classes"]);
  const predicted: Option<string>[] = [
    ["", "predicted class"],
    ["label", "label"],
  ];
  return (
    <>
      {steps.length > 1 && v.pivot !== "steps" && <StepField steps={steps} />}
      {targets && v.pivot !== "targets" && (
        <Field name="Explaining">
          <Select
            name="Explaining"
            value={v.target ?? ""}
            options={[...predicted, ...targets.map((t): Option<string> => [String(t.id), t.name ?? `class ${t.id}`])]}
            pick={(target) => change({ target: target || null })}
          />
        </Field>
      )}
      {pivots.length > 1 && (
        <Field name="Columns">
          <Select<Pivot>
            name="Columns"
            value={v.pivot}
            options={pivots}
            pick={(pivot) => change({ pivot, scope: null }, true)}
          />
        </Field>
      )}
      {v.pivot !== "methods" && (
        <Field name="Method">
          <Select
            name="Method"
            value={v.method ?? info.methods[0]?.id ?? ""}
            options={info.methods.map((m) => [m.id, m.title] as const)}
            pick={(method) => change({ method })}
          />
        </Field>
      )}
      {(v.pivot === "steps" || v.pivot === "runs") && info.kind !== "text" && (
        <label class="toggle" title="a column of the last map less the first">
          <input type="checkbox" checked={v.change} onChange={(e) => change({ change: e.currentTarget.checked })} />
          <span>change</span>
        </label>
      )}
    </>
  );
}

/** The latest step at or before the one asked for, as it is shown. */
function StepField({ steps }: { steps: readonly number[] }) {
  const { step } = view.value;
  const last = steps.length - 1;
  const at =
    step === null
      ? last
      : Math.max(
          0,
          steps.findLastIndex((s) => s <= step),
        );
  const [held, hold] = useState<number | null>(null); // while it is dragged nothing is asked for
  const shown = steps[held ?? at]!;
  const pick = (to: number): void => {
    hold(null);
    if (to !== at) change({ step: to === last ? null : steps[to]! });
  };
  return (
    <Field name="Step">
      <input
        class="steps"
        type="range"
        min={0}
        max={last}
        step={1}
        value={held ?? at}
        aria-label="Step"
        aria-valuetext={`step ${count(shown)}`}
        onInput={(e) => hold(Number(e.currentTarget.value))}
        onChange={(e) => pick(Number(e.currentTarget.value))}
      />
      <output>{count(shown)}</output>
    </Field>
  );
}

function SortField({ info }: { info: StoreInfo }) {
  const v = view.value;
  const { plain, groups } = sortOptions(info, page.value?.page.header.fields ?? []);
  const listed = [...plain, ...groups.flatMap(([, options]) => options)].some(([value]) => value === v.sort);
  const options = listed ? plain : [...plain, [v.sort, sortTitle(v.sort, info)] as const];
  return (
    <div class="sort">
      <Field name="Sort">
        <Select
          name="Sort"
          value={v.sort}
          options={options}
          groups={groups}
          pick={(sort) => change({ sort, descending: sort !== "id" })}
        />
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
    </div>
  );
}

function Display({ info }: { info: StoreInfo }) {
  const v = view.value;
  return (
    <>
      {info.kind === "text" && (
        <label class="toggle" title="sums over the pieces of each word, where the store says which belong together">
          <input type="checkbox" checked={!v.pieces} onChange={(e) => change({ pieces: !e.currentTarget.checked })} />
          <span>whole words</span>
        </label>
      )}
      {info.kind === "text" && (
        <label class="toggle" title="blanks and line breaks as marks; what is copied stays plain text">
          <input type="checkbox" checked={v.blanks} onChange={(e) => change({ blanks: e.currentTarget.checked })} />
          <span>whitespace</span>
        </label>
      )}
      {info.kind === "image" && (
        <label class="toggle" title="interpolate between pixels; a pixel is then no longer a square of its own colour">
          <input type="checkbox" checked={v.smooth} onChange={(e) => change({ smooth: e.currentTarget.checked })} />
          <span>smooth</span>
        </label>
      )}
      <Field name="Clip">
        <Select<Clip>
          name="Clip"
          value={v.clip}
          options={CLIPS.map((c) => [c, c] as const)}
          pick={(clip) => change({ clip })}
        />
      </Field>
      <Field name="Scale">
        <Select<Scope>
          name="Scale"
          value={scope.value}
          options={SCOPES.map((s) => [s, SCOPE_TITLES[s]] as const)}
          pick={(picked) => change({ scope: picked })}
        />
      </Field>
      <div class="segments" role="radiogroup" aria-label="tile size">
        {TILE_SIZES.map((size, i) => (
          <label key={size} title={`${size} px`}>
            <input
              type="radio"
              name="size"
              checked={v.tile === size}
              onChange={() => change({ tile: size })}
              aria-label={`${size} pixels`}
            />
            <span style={{ width: `${6 + 3 * i}px`, height: `${6 + 3 * i}px` }} />
          </label>
        ))}
      </div>
    </>
  );
}
