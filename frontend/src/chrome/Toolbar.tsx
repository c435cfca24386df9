// The controls above the grid: which store, what the columns are, which examples, how they are drawn.
import type { StoreInfo } from "../api/types";
import { PANES, type Pane } from "../state/address";
import { helpOpen } from "../state/interaction";
import { page } from "../state/loaded";
import { storeInfo, stores } from "../state/stores";
import { change, view } from "../state/view";
import { DisplayControls } from "./DisplayControls";
import { Field, Select } from "./Fields";
import { FilterBox } from "./FilterBox";
import { Selectors } from "./Selectors";
import { beginsWithLargest, sortOptions, sortTitle } from "./sorts";
import styles from "./Toolbar.module.css";

const PANE_TITLES: Record<Pane, string> = { examples: "Examples", summary: "Summary" };

export function Toolbar() {
  const info = storeInfo.value;
  const { pane } = view.value;
  const showsExamples = info !== null && pane === "examples";
  return (
    <header class={styles.toolbar}>
      <div class={styles.controls}>
        <nav class={styles.panes} aria-label="views">
          {PANES.map((name) => (
            <button
              key={name}
              type="button"
              aria-current={pane === name ? "page" : undefined}
              onClick={() => change({ pane: name }, true)}
            >
              {PANE_TITLES[name]}
            </button>
          ))}
        </nav>
        <StoreField />
        {showsExamples && <Selectors info={info} />}
        <div class={styles.spring} />
        {showsExamples && <DisplayControls info={info} />}
        <button
          type="button"
          class="icon"
          title="keyboard (?)"
          aria-label="keyboard help"
          onClick={() => {
            helpOpen.value = true;
          }}
        >
          ?
        </button>
      </div>
      {info && (
        <div class={styles.controls}>
          <FilterBox info={info} />
          {showsExamples && <SortField info={info} />}
        </div>
      )}
    </header>
  );
}

function StoreField() {
  const { run, store } = view.value;
  const all = stores.value?.stores ?? [];
  const oneStorePerRun = new Set(all.map((s) => s.run)).size === all.length;
  const options = all.map((s): [string, string] => {
    const title = oneStorePerRun ? s.run : `${s.run} / ${s.store}`;
    return [JSON.stringify([s.run, s.store]), `${title}${s.error === undefined ? "" : " (unreadable)"}`];
  });
  const shown = JSON.stringify([run, store]);
  if (!options.some(([value]) => value === shown))
    options.unshift([shown, run ? `${run} / ${store} (not found)` : "none"]);
  const select = (value: string): void => {
    const [nextRun, nextStore] = JSON.parse(value) as [string, string];
    const reset = { step: null, target: null, filter: "", sort: "errors", method: null, example: null };
    change({ run: nextRun, store: nextStore, ...reset });
  };
  return (
    <Field name="Run">
      <Select name="Run" value={shown} options={options} select={select} />
    </Field>
  );
}

function SortField({ info }: { info: StoreInfo }) {
  const { sort, descending } = view.value;
  const header = page.value?.page.header;
  const { fields, groups } = sortOptions(info, header?.fields ?? [], header?.are_judged ?? true);
  const isListed = [...fields, ...groups.flatMap(([, options]) => options)].some(([value]) => value === sort);
  const options = isListed ? fields : [...fields, [sort, sortTitle(sort, info)] as const];
  return (
    <div class={styles.sort}>
      <Field name="Sort">
        <Select
          name="Sort"
          value={sort}
          options={options}
          groups={groups}
          select={(field) => change({ sort: field, descending: beginsWithLargest(field, info) })}
        />
      </Field>
      <button
        type="button"
        class="icon"
        title={descending ? "largest first" : "smallest first"}
        aria-label={descending ? "sorted largest first; reverse" : "sorted smallest first; reverse"}
        onClick={() => change({ descending: !descending })}
      >
        {descending ? "↓" : "↑"}
      </button>
    </div>
  );
}
