// The drawer: one example next to the grid, with everything that is known about it.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import { type ExactMap, fetchExample } from "../api/requests";
import type { ExampleFacts as Facts, Row } from "../api/types";
import { ExampleFacts } from "../grid/ExampleFacts";
import { clipsOf } from "../maps/clips";
import { partPages } from "../maps/partPages";
import { exactMap } from "../state/loadExample";
import { opened, openedFailure, page } from "../state/loaded";
import { change, closeDrawer, scope, view } from "../state/view";
import { Actions } from "./Actions";
import { Baselines } from "./Baselines";
import styles from "./Drawer.module.css";
import { Measures } from "./Measures";
import { Origin } from "./Origin";
import { PictureMaps } from "./PictureMaps";
import { Shares } from "./Shares";
import { Sums } from "./Sums";
import type { ShownPart } from "./shownPart";
import { TextMaps } from "./TextMaps";
import { TopFeatures } from "./TopFeatures";

export function Drawer() {
  const id = view.value.example;
  if (id === null) return null;
  const failure = openedFailure.value;
  const row = opened.value?.page.header.rows[opened.value.row];
  return (
    <aside class={styles.drawer} aria-label={`example ${id}`}>
      <div class={styles.head}>
        <h2>
          <span>Example</span> {id}
        </h2>
        <Neighbours id={id} />
        <button type="button" class="icon" title="close (Esc)" aria-label="close" onClick={closeDrawer}>
          ×
        </button>
      </div>
      {failure && (
        <p role="alert" class={styles.failure}>
          {failure.sentence}
        </p>
      )}
      {!failure && opened.value && row?.id === id && (
        <Contents
          key={`${id} ${opened.value.page.header.version}`}
          page={opened.value.page}
          index={opened.value.row}
          row={row}
        />
      )}
    </aside>
  );
}

function Neighbours({ id }: { id: string }) {
  const rows = page.value?.page.header.rows ?? [];
  const index = rows.findIndex((row) => row.id === id);
  const goTo = (row: number): void => change({ example: rows[row]!.id });
  return (
    <div class={styles.neighbours}>
      <button
        type="button"
        class="icon"
        disabled={index <= 0}
        title="previous example (k)"
        aria-label="previous example"
        onClick={() => goTo(index - 1)}
      >
        ↑
      </button>
      <button
        type="button"
        class="icon"
        disabled={index < 0 || index >= rows.length - 1}
        title="next example (j)"
        aria-label="next example"
        onClick={() => goTo(index + 1)}
      >
        ↓
      </button>
    </div>
  );
}

/** For each page the exact maps of a row by column; null where there is none, or not yet. */
function useExactMaps(pages: readonly Page[], index: number): (ExactMap | null)[][] {
  const [exactMaps, setExactMaps] = useState<(ExactMap | null)[][]>([]);
  useEffect(() => {
    let mounted = true;
    const requests = pages.map((of) => {
      const { columns, rows } = of.header;
      const ofRow = rows[index]!.maps.map((map, m) => {
        if (map === null || map.error !== undefined || columns[m]!.change) return null;
        return exactMap(of, index, m, map).catch(() => null);
      });
      return Promise.all(ofRow);
    });
    void Promise.all(requests).then((maps) => mounted && setExactMaps(maps));
    return () => {
      mounted = false;
    };
  }, [pages, index]);
  return exactMaps;
}

function Contents({ page, index, row }: { page: Page; index: number; row: Row }) {
  const pages = useMemo(() => partPages(page), [page]);
  const exactMaps = useExactMaps(pages, index);
  const [facts, setFacts] = useState<Facts | null>(null);
  const { columns, version, modality, pivot } = page.header;
  useEffect(() => {
    fetchExample(view.value, version, row.id).then(setFacts, () => setFacts(null));
  }, [page, index]);
  const parts: ShownPart[] = pages.map((of, i) => ({
    page: of,
    index,
    row: of.header.rows[index]!,
    exactMaps: exactMaps[i] ?? [],
    clips: clipsOf(of, scope.value)[index]!,
  }));
  const isMixed = modality === "mixed";
  const baselines = facts && <Baselines facts={facts} columns={columns} input={row.input} />;
  return (
    <div class={styles.body}>
      <div class={styles.example}>
        <ExampleFacts row={row} />
        <Actions parts={parts} />
      </div>
      {isMixed && <Shares row={row} columns={columns} />}
      {isMixed && (
        <>
          <Sums columns={columns} maps={row.maps} exactMaps={exactMaps} />
          {baselines}
        </>
      )}
      {parts.map((part) => (
        <section key={part.page.part?.name} class={isMixed ? styles.part : ""}>
          {part.page.part && <h2>{part.page.part.name}</h2>}
          {part.page.header.modality === "image" && <PictureMaps {...part} />}
          {part.page.header.modality === "text" && <TextMaps {...part} />}
          {isMixed && <TopFeatures row={part.row} columns={columns} exactMaps={part.exactMaps} />}
        </section>
      ))}
      {!isMixed && (
        <>
          <Sums columns={columns} maps={row.maps} exactMaps={exactMaps} />
          {baselines}
          <TopFeatures row={row} columns={columns} exactMaps={parts[0]!.exactMaps} />
        </>
      )}
      {facts && pivot === "methods" && <Measures facts={facts} columns={columns} id={row.id} />}
      {facts && <Origin facts={facts} columns={columns} />}
    </div>
  );
}
