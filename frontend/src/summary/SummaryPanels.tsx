// Panels of the Summary over many examples: gaps, agreement of methods, and what matters in general; each leads back to examples.
import { useEffect, useRef } from "preact/hooks";
import type { Agreements, Gaps, Overall } from "../api/types";
import { count, percent, plusMinus, short, withSign } from "../format/numbers";
import { css, mapColour, ramp, readable, SEQUENTIAL, wordColour } from "../maps/colour";
import { quote } from "../state/filter";
import { theme } from "../state/host";
import { change, narrow, page, view } from "../state/model";

function Panel({
  id,
  title,
  note,
  children,
}: {
  id: string;
  title: string;
  note: string;
  children: preact.ComponentChildren;
}) {
  return (
    <section class="panel" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      <p class="note">{note}</p>
      {children}
    </section>
  );
}

const filtered = (): string => (view.value.filter ? `, filter ${view.value.filter}` : "");

const sampleOf = (of: { sampled: number; examples: number }): string =>
  of.sampled < of.examples
    ? `A sample: ${count(of.sampled)} of ${count(of.examples)} examples${filtered()}.`
    : `All ${count(of.examples)} examples.`;

export function GapPanel({ of }: { of: Gaps }) {
  if (of.found.length === 0) return null;
  const n = Math.max(...of.found.map((f) => f.known + f.unknown));
  const named = (i: number): string =>
    i < of.edges.length - 1
      ? `${percent(of.edges[i]!, 1)} to ${percent(of.edges[i + 1]!, 1)}`
      : `over ${percent(of.edges[i]!, 0)}`;
  return (
    <Panel
      id="gaps"
      title="Completeness gap"
      note={`All ${count(n)} examples${filtered()}; the gap as a share of f(x) − f(baseline). Click a bar to see its examples.`}
    >
      <div class="charts">
        {of.found.map((f) => {
          const most = Math.max(1, ...f.counts);
          return (
            <figure key={f.method}>
              <figcaption>{f.title}</figcaption>
              <div class="columns">
                {f.counts.map((c, i) => (
                  <button
                    key={i}
                    type="button"
                    disabled={c === 0}
                    title={`${named(i)}: ${count(c)} examples`}
                    onClick={() =>
                      narrow(
                        `${f.method}.gap${i < of.edges.length - 1 ? `:${of.edges[i]}..${of.edges[i + 1]}` : `>${of.edges[i]}`}`,
                      )
                    }
                  >
                    <span class="column-count">{c > 0 ? count(c) : ""}</span>
                    <span class="unseen"> examples with a gap up to </span>
                    <span class="column-bar" style={{ height: `${c ? Math.max(2, (c / most) * 90) : 0}px` }} />
                    <span class="column-name">
                      {i < of.edges.length - 1
                        ? percent(of.edges[i + 1]!, of.edges[i + 1]! < 0.01 ? 1 : 0)
                        : `>${percent(1, 0)}`}
                    </span>
                  </button>
                ))}
              </div>
              <p class="note">
                median {percent(f.median)}, 95 % of them below {percent(f.p95)}
                {f.unknown > 0 && `; of ${count(f.unknown)} it is not known`}
              </p>
            </figure>
          );
        })}
      </div>
    </Panel>
  );
}

export function AgreementPanel({ of }: { of: Agreements }) {
  if (of.pairs.length === 0) return null;
  const pair = (a: string, b: string) => of.pairs.find((p) => (p.a === a && p.b === b) || (p.a === b && p.b === a));
  const sortable = page.value?.page.header.fields.includes("disagreement") ?? false;
  const colour = (value: number) => {
    const back = ramp(SEQUENTIAL.slice(0, 6), Math.max(0, value));
    return { background: css(back), color: css(readable(back)) };
  };
  return (
    <Panel
      id="agreement"
      title="Agreement between methods"
      note={`${sampleOf(of)} Mean rank correlation of |a|; 1 where both call the same features important, 0 as by chance.`}
    >
      <div class="table-scroll" tabIndex={0} role="region" aria-label="agreement of each pair of methods">
        <table class="matrix">
          <thead>
            <tr>
              <td />
              {of.methods.map((m) => (
                <th scope="col" key={m.id}>
                  {m.title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {of.methods.map((row) => (
              <tr key={row.id}>
                <th scope="row">{row.title}</th>
                {of.methods.map((column) => {
                  const p = pair(row.id, column.id);
                  if (!p || p.spearman === null) return <td key={column.id}>{p ? "–" : ""}</td>;
                  return (
                    <td
                      key={column.id}
                      style={colour(p.spearman)}
                      title={`${row.title} and ${column.title}, ${count(p.n)} examples: the tenth with the largest |a| ${percent(p.top, 0)} in common${p.signs === null ? "" : `, ${percent(p.signs, 0)} of signs`}`}
                    >
                      {p.spearman.toFixed(2).replace("-", "\u2212")}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {sortable && (
        <button
          type="button"
          class="primary"
          onClick={() => change({ pane: "examples", sort: "disagreement", descending: true }, true)}
        >
          Where they disagree most
        </button>
      )}
    </Panel>
  );
}

export function GlobalPanel({ of }: { of: Overall }) {
  const sample = sampleOf(of);
  if (of.classes)
    return (
      <Classes
        of={of}
        note={`${sample} Mean |a| of each class predicted, every map with the same weight; black is none, white the most.`}
      />
    );
  if (of.words)
    return (
      <Words
        of={of}
        note={`${sample} Mean attribution of words that occur at least ${of.least} times, ± the standard error.`}
      />
    );
  if (of.features)
    return (
      <Features
        of={of}
        note={`${sample} A point for each example; its colour is the feature's value, pale for small, dark for large.`}
      />
    );
  return null;
}

function Classes({ of, note }: { of: Overall; note: string }) {
  return (
    <Panel id="global" title="Where each class is looked at" note={note}>
      <div class="table-scroll" tabIndex={0} role="region" aria-label="mean maps of classes">
        <table class="class-maps">
          <thead>
            <tr>
              <th scope="col">predicted</th>
              {of.methods.map((m) => (
                <th scope="col" key={m.id}>
                  {m.title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {of.classes!.map((row) => (
              <tr key={row.class}>
                <th scope="row">
                  <button
                    type="button"
                    class="link"
                    onClick={() => narrow(`pred:${quote(row.name ?? String(row.class))}`)}
                  >
                    {row.name ?? `class ${row.class}`}
                  </button>
                  <div class="note">{count(row.n)} maps</div>
                </th>
                {of.methods.map((m) => (
                  <td key={m.id}>{row.maps[m.id] ? <Heat codes={row.maps[m.id]!} side={of.side!} /> : "–"}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Heat({ codes, side }: { codes: string; side: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const bytes = Uint8Array.from(atob(codes), (c) => c.charCodeAt(0));
    const pixels = new Uint8ClampedArray(bytes.length * 4);
    bytes.forEach((value, i) => pixels.set([value, value, value, 255], 4 * i));
    canvas.current!.getContext("2d")!.putImageData(new ImageData(pixels, side, side), 0, 0);
  }, [codes, side]);
  return <canvas ref={canvas} class="heat" width={side} height={side} aria-hidden="true" />;
}

function Words({ of, note }: { of: Overall; note: string }) {
  return (
    <Panel id="global" title="Words" note={note}>
      <div class="charts">
        {of.methods
          .filter((m) => of.words![m.id]?.length)
          .map((m) => {
            const words = of.words![m.id]!;
            const most = Math.max(...words.map((w) => Math.abs(w.mean))) || 1;
            return (
              <figure key={m.id}>
                <figcaption>{m.title}</figcaption>
                <ul class="word-list">
                  {words.map((w) => {
                    const { back, fore } = wordColour(w.mean, most, m.signed, theme.value);
                    return (
                      <li key={w.word}>
                        <button
                          type="button"
                          style={{ background: css(back), color: css(fore) }}
                          title={`${plusMinus(w.mean, w.error)} in ${count(w.n)} places; see them`}
                          onClick={() => narrow(`text:${quote(w.word)}`)}
                        >
                          {w.word}
                        </button>
                        <span class="note">{m.signed ? withSign(w.mean, 2) : short(w.mean, 2)}</span>
                      </li>
                    );
                  })}
                </ul>
              </figure>
            );
          })}
      </div>
    </Panel>
  );
}

const [WIDTH, ROW] = [360, 30];

/** A beeswarm of each feature: attributions along the axis, values as shade. */
function Features({ of, note }: { of: Overall; note: string }) {
  return (
    <Panel id="global" title="Features" note={note}>
      <div class="charts">
        {of.methods
          .filter((m) => of.features![m.id]?.length)
          .map((m) => (
            <figure key={m.id}>
              <figcaption>{m.title}</figcaption>
              <Swarm features={of.features![m.id]!} title={m.title} />
            </figure>
          ))}
      </div>
    </Panel>
  );
}

function Swarm({ features, title }: { features: NonNullable<Overall["features"]>[string]; title: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const left = 118;
  const all = features.flatMap((f) => f.points.flatMap(([a]) => (a === null ? [] : [a])));
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const x = (a: number): number => left + 6 + ((a - low) / (high - low || 1)) * (WIDTH - left - 14);
  const ink = theme.value;
  useEffect(() => {
    const scale = Math.max(1, devicePixelRatio);
    const context = canvas.current!.getContext("2d")!;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, WIDTH, ROW * features.length);
    context.strokeStyle = ink === "dark" ? "#66696d" : "#c9cdd2";
    context.beginPath();
    context.moveTo(x(0), 0);
    context.lineTo(x(0), ROW * features.length);
    context.stroke();
    features.forEach(({ points }, row) => {
      const values = points.flatMap(([, v]) => (v === null ? [] : [v])).sort((a, b) => a - b);
      const rank = (v: number | null): number =>
        v === null || values.length < 2 ? 0.5 : values.findIndex((w) => w >= v) / (values.length - 1);
      const taken = new Map<number, number>(); // how many points stand at each place already
      for (const [a, v] of points) {
        if (a === null) continue;
        const px = Math.round(x(a) / 3) * 3;
        const n = taken.get(px) ?? 0;
        taken.set(px, n + 1);
        const off = (n % 2 ? 1 : -1) * Math.ceil(n / 2) * 2.2;
        const py = ROW * (row + 0.5) + Math.max(-ROW / 2 + 3, Math.min(ROW / 2 - 3, off));
        context.fillStyle = css(mapColour(0.25 + 0.75 * rank(v), 1, false));
        context.beginPath();
        context.arc(x(a), py, 2.2, 0, 7);
        context.fill();
      }
    });
  }, [features, ink]);
  const scale = Math.max(1, devicePixelRatio);
  return (
    <>
      <div class="swarm" style={{ height: `${ROW * features.length}px` }}>
        <canvas
          ref={canvas}
          width={WIDTH * scale}
          height={ROW * features.length * scale}
          style={{ width: `${WIDTH}px`, height: `${ROW * features.length}px` }}
          role="img"
          aria-label={`${title}: ${features.map((f) => `${f.feature} ${short(f.mean)}`).join(", ")}`}
        />
        {features.map((f, i) => (
          <span key={f.feature} style={{ top: `${ROW * i}px` }} title={`${f.feature}: mean |a| ${short(f.mean)}`}>
            {f.feature}
          </span>
        ))}
      </div>
      <p class="note swarm-ends">
        <span>{short(low)}</span>
        <span>attribution</span>
        <span>{short(high)}</span>
      </p>
    </>
  );
}
