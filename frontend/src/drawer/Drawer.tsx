// One example at length, beside the grid: its maps with exact values, what they sum to, how far they can be believed.
import { signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import { type ExactMap, fetchExample } from "../api/requests";
import type { Column, ExampleFacts, Input, Kind, Line, Picture, Row, StoredMap } from "../api/types";
import { series } from "../charts/axes";
import { type Curve, LineChart } from "../charts/LineChart";
import { count, percent, short, withSign } from "../format/numbers";
import { relativeGap } from "../grid/Caption";
import { ExampleCell } from "../grid/ExampleCell";
import { type Plate, pixels, sheet } from "../maps/pixels";
import { TextMap } from "../maps/TextMap";
import { textRow } from "../maps/textRows";
import { hostLink, theme } from "../state/host";
import {
  change,
  clipsOf,
  exactMap,
  opened,
  openedFailure,
  page,
  pictureUrl,
  pieces,
  scope,
  view,
} from "../state/model";
import { csv, npy, save } from "./files";
import { PictureMaps } from "./PictureMaps";

export const close = (): void => change({ example: null }, true);

/** Which column's features the table lists. */
const listed = signal(0);

export function Drawer() {
  const id = view.value.example;
  if (id === null) return null;
  const failed = openedFailure.value;
  const shown = opened.value;
  const row = shown?.page.header.rows[shown.row];
  return (
    <aside class="drawer" aria-label={`example ${id}`}>
      <div class="drawer-head">
        <h2>
          <span>Example</span> {id}
        </h2>
        <Neighbours id={id} />
        <button type="button" class="icon" title="close (Esc)" aria-label="close" onClick={close}>
          ×
        </button>
      </div>
      {failed && (
        <p role="alert" class="drawer-failed">
          {failed.sentence}
        </p>
      )}
      {!failed && shown && row && row.id === id && (
        <Contents key={`${id} ${shown.page.header.version}`} of={shown.page} at={shown.row} row={row} />
      )}
    </aside>
  );
}

function Neighbours({ id }: { id: string }) {
  const rows = page.value?.page.header.rows ?? [];
  const at = rows.findIndex((r) => r.id === id);
  const go = (to: number): void => change({ example: rows[to]!.id });
  return (
    <div class="drawer-steps">
      <button
        type="button"
        class="icon"
        disabled={at <= 0}
        title="previous example (k)"
        aria-label="previous example"
        onClick={() => go(at - 1)}
      >
        ↑
      </button>
      <button
        type="button"
        class="icon"
        disabled={at < 0 || at >= rows.length - 1}
        title="next example (j)"
        aria-label="next example"
        onClick={() => go(at + 1)}
      >
        ↓
      </button>
    </div>
  );
}

/** The exact maps of the row, by column; null where there is none. */
function useExact(of: Page, at: number): (ExactMap | null)[] {
  const { columns, rows } = of.header;
  const [found, put] = useState<(ExactMap | null)[]>([]);
  useEffect(() => {
    let live = true;
    const maps = rows[at]!.maps.map((map, m) =>
      map === null || map.error !== undefined || columns[m]!.change ? null : exactMap(of, at, m, map).catch(() => null),
    );
    void Promise.all(maps).then((all) => live && put(all));
    return () => void (live = false);
  }, [of, at]);
  return found;
}

function Contents({ of, at, row }: { of: Page; at: number; row: Row }) {
  const exact = useExact(of, at);
  const [facts, setFacts] = useState<ExampleFacts | null>(null);
  const { columns, version, kind } = of.header;
  useEffect(() => {
    fetchExample(view.value, version, row.id).then(setFacts, () => setFacts(null));
  }, [of, at]);
  const clips = clipsOf(of, scope.value)[at]!;
  return (
    <div class="drawer-body">
      <div class="drawer-example">
        <ExampleCell row={row} />
        <Actions of={of} at={at} row={row} exact={exact} clips={clips} />
      </div>
      {kind === "image" ? (
        <PictureMaps of={of} at={at} row={row} exact={exact} clips={clips} />
      ) : kind === "text" ? (
        <Texts of={of} at={at} row={row} clips={clips} />
      ) : null}
      <Sums columns={columns} maps={row.maps} exact={exact} />
      {facts && <Baselines facts={facts} columns={columns} kind={kind} />}
      <Features row={row} columns={columns} exact={exact} />
      {facts && <Evidence of={of} facts={facts} row={row} />}
      {facts && <Origin of={of} facts={facts} />}
    </div>
  );
}

function Texts({ of, at, row, clips }: { of: Page; at: number; row: Row; clips: number[] }) {
  const { words, values } = textRow(of, row, pieces.value);
  return (
    <section role="row" class="drawer-texts">
      {of.header.columns.map((column, m) => {
        const map = row.maps[m];
        if (!map || map.error !== undefined || row.input.type !== "text") return null;
        return (
          <div key={column.key}>
            <h3>{column.title}</h3>
            <TextMap
              of={of}
              row={at}
              column={m}
              map={map as Line}
              method={column.method}
              tokens={row.input.tokens}
              words={words}
              pieces={words}
              values={values[m]!}
              clip={clips[m]!}
              unfold={() => undefined}
            />
          </div>
        );
      })}
    </section>
  );
}

/** f(x) − f(baseline) = Σ attributions + gap, for each map. */
function Sums({
  columns,
  maps,
  exact,
}: {
  columns: readonly Column[];
  maps: readonly (StoredMap | null)[];
  exact: readonly (ExactMap | null)[];
}) {
  const rows = columns.flatMap((column, m) => {
    const map = maps[m];
    if (!map || map.error !== undefined || !column.method.signed || column.change) return [];
    const sum = exact[m] ? exact[m].values.reduce((a, b) => a + b, 0) : null;
    return [{ column, map, sum }];
  });
  if (rows.length === 0) return null;
  return (
    <section>
      <h3>What the maps sum to</h3>
      <div class="table-scroll">
        <table class="sums">
          <thead>
            <tr>
              <th scope="col" />
              <th scope="col">f(x)</th>
              <th scope="col">− f(baseline)</th>
              <th scope="col">= Σ attributions</th>
              <th scope="col">+ gap</th>
              <th scope="col">share</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ column, map, sum }) => (
              <tr key={column.key} class={map.gap === null ? "lost" : ""}>
                <th scope="row">{column.title}</th>
                <td>{short(map.score, 4)}</td>
                <td>{short(map.baseline_score, 4)}</td>
                <td>{short(sum, 4)}</td>
                <td>{map.gap === null ? "no promise" : short(map.gap)}</td>
                <td>{percent(relativeGap(map))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** What f(baseline) is the score of: each baseline once, with the methods that start from it. */
function Baselines({ facts, columns, kind }: { facts: ExampleFacts; columns: readonly Column[]; kind: Kind }) {
  const shown = new Set(columns.map((column) => column.method.id));
  const groups = new Map<string, { value: unknown; picture: string | undefined; titles: string[] }>();
  for (const method of facts.methods) {
    if (!shown.has(method.id) || !("baseline" in method.parameters)) continue;
    const value = method.parameters["baseline"] ?? 0;
    const group = groups.get(JSON.stringify(value)) ?? { value, picture: method.baseline_picture, titles: [] };
    groups.set(JSON.stringify(value), group);
    group.titles.push(method.title);
  }
  if (groups.size === 0) return null;
  const named = (value: unknown): string => {
    if (kind === "text" && typeof value === "number")
      return `embeddings of ${value === 0 ? "zeros" : value} in place of all tokens`;
    return `${typeof value === "number" ? `${value} everywhere` : String(JSON.stringify(value))}, as the model takes it`;
  };
  return (
    <section class="baselines">
      <h3>{groups.size > 1 ? "Baselines" : "Baseline"}</h3>
      {[...groups.values()].map(({ value, picture, titles }) => (
        <figure key={titles[0]}>
          {picture ? (
            <img src={`data:image/png;base64,${picture}`} alt="baseline" />
          ) : (
            kind === "image" && (
              <div class="state flat">
                <span>{short(Number(value))}</span>
              </div>
            )
          )}
          <figcaption>
            {picture ? "an array, as the model takes it" : named(value)}
            <span class="note"> {titles.join(", ")}</span>
          </figcaption>
        </figure>
      ))}
    </section>
  );
}

const TOP = 15;

/** How features are called and how many share a position. */
function nameOf(input: Input, width: number, index: number): string {
  if (input.type === "text") return input.tokens[index] || "(padding)";
  if (input.type === "tabular") return input.features[index] ?? String(index);
  return `x ${index % width}, y ${Math.floor(index / width)}`;
}

function widthOf(map: StoredMap | null | undefined): number {
  return map && map.error === undefined && "full" in map ? map.full[1] : 1;
}

/** The strongest features as a table: also what there is instead of the picture for who cannot see it. */
function Features({
  row,
  columns,
  exact,
}: {
  row: Row;
  columns: readonly Column[];
  exact: readonly (ExactMap | null)[];
}) {
  const usable = columns.map((column, m) => ({ column, m })).filter(({ m }) => exact[m]);
  const by = usable.find(({ m }) => m === listed.value) ?? usable[0];
  const top = useMemo(() => {
    const values = by && exact[by.m]!.values;
    if (!values) return [];
    const order = [...values.keys()].filter(
      (i) => Number.isFinite(values[i]!) && !(row.input.type === "text" && row.input.tokens[i] === ""),
    );
    return order.sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!) || a - b).slice(0, TOP);
  }, [by?.m, exact]);
  if (!by) return null;
  const total = exact[by.m]!.values.reduce((sum, v) => sum + (Number.isFinite(v) ? Math.abs(v) : 0), 0);
  const width = widthOf(row.maps[by.m]);
  const kind = row.input.type === "text" ? "tokens" : row.input.type === "tabular" ? "features" : "pixels";
  return (
    <section>
      <h3>Strongest {kind}</h3>
      <div class="table-scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">{kind.slice(0, -1)}</th>
              {row.input.type === "tabular" && <th scope="col">value</th>}
              {usable.map(({ column, m }) => (
                <th scope="col" key={column.key} aria-sort={m === by.m ? "descending" : undefined}>
                  <button type="button" class="head-button" onClick={() => (listed.value = m)}>
                    {column.title}
                    {m === by.m ? " ↓" : ""}
                  </button>
                </th>
              ))}
              <th scope="col" title={`of the sum of |a| by ${by.column.title}`}>
                share
              </th>
            </tr>
          </thead>
          <tbody>
            {top.map((i) => (
              <tr key={i}>
                <th scope="row">{nameOf(row.input, width, i)}</th>
                {row.input.type === "tabular" && <td>{short(row.input.values[i] ?? null, 5)}</td>}
                {usable.map(({ column, m }) => (
                  <td key={column.key}>
                    {column.method.signed
                      ? withSign(exact[m]!.values[i] ?? NaN)
                      : short(exact[m]!.values[i] ?? null, 4)}
                  </td>
                ))}
                <td>{percent(total > 0 ? Math.abs(exact[by.m]!.values[i]!) / total : null)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Deletion, insertion and whatever else was measured of this example. */
function Evidence({ of, facts, row }: { of: Page; facts: ExampleFacts; row: Row }) {
  if (of.header.pivot !== "methods") return null;
  const measures = (facts.measures ?? []).filter(
    (measure) => measure.axis && of.header.columns.some((c) => facts.curves[c.key]?.[measure.id]),
  );
  if (measures.length === 0) {
    const any = (facts.measures ?? []).length > 0;
    return (
      <p class="note">
        {any
          ? "This example was not among those measured."
          : "No measure of this map was taken: nothing here says how far it can be believed."}
      </p>
    );
  }
  return (
    <section>
      <h3>How far they can be believed</h3>
      <div class="charts">
        {measures.map((measure) => {
          const found = of.header.columns.flatMap((column, m) => {
            const told = facts.curves[column.key]?.[measure.id];
            return told ? [{ column, m, told }] : [];
          });
          const curves: Curve[] = found.map(({ column, m, told }) => ({
            name: column.title,
            mean: told.curve,
            ...series(m, theme.value),
          }));
          const chance = found[0]!.told.random_curve;
          if (chance.length) curves.push({ name: "a random map", mean: chance, colour: "#80868b", dash: "3 3" });
          return (
            <figure key={measure.id}>
              <figcaption>{measure.title}</figcaption>
              <LineChart
                title={`${measure.title} of example ${row.id}`}
                axis={measure.axis!}
                at={found[0]!.told.at}
                curves={curves}
                bold={null}
              />
            </figure>
          );
        })}
      </div>
    </section>
  );
}

function Origin({ of, facts }: { of: Page; facts: ExampleFacts }) {
  const parameters = of.header.columns
    .filter((c) => !c.change)
    .map((c) => ({
      title: c.method.title,
      text: Object.entries(c.method.parameters)
        .map(([k, v]) => `${k} = ${JSON.stringify(v)}`)
        .join(", "),
    }));
  const each = [...new Map(parameters.map((p) => [p.title, p])).values()];
  return (
    <section>
      <h3>Where they come from</h3>
      <dl class="facts wide">
        {each.map(({ title, text }) => (
          <>
            <dt>{title}</dt>
            <dd title={text}>{text || "no parameters"}</dd>
          </>
        ))}
        <dt>model</dt>
        <dd title={facts.model?.path}>{facts.model?.path ?? "–"}</dd>
        <dt>store</dt>
        <dd>
          {view.value.run} / {view.value.store}, version {facts.version}
          {facts.created && `, ${facts.created}`}
        </dd>
      </dl>
    </section>
  );
}

function Actions({
  of,
  at,
  row,
  exact,
  clips,
}: {
  of: Page;
  at: number;
  row: Row;
  exact: readonly (ExactMap | null)[];
  clips: number[];
}) {
  const [said, say] = useState("");
  const ready = exact.some((map) => map);
  const { columns, kind } = of.header;
  const name = `${view.value.run}_${row.id}`;
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(hostLink()).then(
      () => say("copied"),
      () => say("not allowed by the browser"),
    );
    setTimeout(() => say(""), 2000);
  };
  const table = (): void => {
    const here = columns.flatMap((column, m) => (exact[m] ? [{ title: column.title, values: exact[m].values }] : []));
    const width = widthOf(row.maps.find((map) => map));
    const first = kind === "image" ? ["x", "y"] : [kind === "text" ? "token" : "feature"];
    const place = (i: number): (string | number)[] =>
      kind === "image" ? [i % width, Math.floor(i / width)] : [nameOf(row.input, 1, i)];
    const lines = Array.from({ length: here[0]!.values.length }, (_, i) => [
      ...place(i),
      ...here.map(({ values }) => values[i] ?? null),
    ]);
    save(`${name}.csv`, csv([...first, ...here.map(({ title }) => title)], lines));
  };
  const arrays = (): void => {
    columns.forEach((column, m) => {
      const [map, found] = [row.maps[m], exact[m]];
      if (!map || !found) return;
      save(`${name}_${column.key}.npy`, npy(found.values, "full" in map ? map.full : [found.values.length]));
    });
  };
  const picture = async (): Promise<void> => {
    const plates: Plate[] = [];
    const source = pictureUrl(of, at);
    if (source && "full" in row.input) {
      const image = new Image();
      image.src = source;
      await image.decode();
      plates.push({ title: "input", picture: image, shape: [image.naturalHeight, image.naturalWidth], legend: null });
    }
    columns.forEach((column, m) => {
      const [map, found] = [row.maps[m], exact[m]];
      if (!map || !found) return;
      const [height, width] = (map as Picture).full;
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height];
      canvas
        .getContext("2d")!
        .putImageData(new ImageData(pixels(found.values, clips[m]!, column.method.signed), width, height), 0, 0);
      plates.push({
        title: column.title,
        picture: canvas,
        shape: [height, width],
        legend: { clip: clips[m]!, signed: column.method.signed },
      });
    });
    const explained = row.maps.find((map) => map)?.target_name ?? "";
    sheet(
      `${view.value.run} · ${row.id} · predicted ${row.predicted_name ?? row.predicted} · explains ${explained}`,
      plates,
      256,
    ).toBlob((blob) => blob && save(`${name}.png`, blob), "image/png");
  };
  return (
    <div class="actions">
      <button type="button" onClick={() => void copy()} title="a link to exactly this view (y)">
        {said || "Copy link"}
      </button>
      {kind === "image" && (
        <button
          type="button"
          disabled={!ready}
          onClick={() => void picture()}
          title="the maps with their legends, as one picture"
        >
          PNG
        </button>
      )}
      <button
        type="button"
        disabled={!ready}
        onClick={table}
        title={`the exact values, ${kind === "image" ? "a line for each pixel" : "a line for each feature"}`}
      >
        CSV
      </button>
      <button
        type="button"
        disabled={!ready}
        onClick={arrays}
        title={`float32 arrays, a file for each of ${count(exact.filter((e) => e).length)} maps`}
      >
        NPY
      </button>
    </div>
  );
}
