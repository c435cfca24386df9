// What matters over many examples: mean maps of classes, words by mean attribution, a beeswarm of features, or shares of inputs.
import { useEffect, useRef } from "preact/hooks";
import type { GlobalSummary } from "../api/types";
import { className } from "../format/names";
import { attribution, count, percent, plusMinus } from "../format/numbers";
import { css, wordColour } from "../maps/colour";
import { quote } from "../state/filterTerms";
import { theme } from "../state/host";
import { addFilterTerm } from "../state/view";
import { Beeswarm } from "./Beeswarm";
import styles from "./GlobalPanel.module.css";
import { MethodHeaders } from "./MethodHeaders";
import { Panel, sampleText } from "./Panel";

interface Props {
  summary: GlobalSummary;
}

export function GlobalPanel({ summary }: Props) {
  if (summary.classes) return <ClassMaps summary={summary} />;
  if (summary.words) return <Words summary={summary} />;
  if (summary.features) return <Features summary={summary} />;
  if (summary.shares) return <Shares summary={summary} />;
  return null;
}

function ClassMaps({ summary }: Props) {
  const { methods, classes, side } = summary;
  const note = `${sampleText(summary)} Mean |a| of each class predicted, every map with the same weight; black is none, white the most.`;
  return (
    <Panel id="global" title="Where each class is looked at" note={note}>
      <section class="scroll" tabIndex={0} aria-label="mean maps of classes">
        <table class={styles.classMaps}>
          <thead>
            <tr>
              <th scope="col">predicted</th>
              <MethodHeaders methods={methods} />
            </tr>
          </thead>
          <tbody>
            {classes!.map(({ class: unit, name, n, maps }) => (
              <tr key={unit}>
                <th scope="row">
                  <button
                    type="button"
                    class={styles.link}
                    onClick={() => addFilterTerm(`pred:${quote(name ?? String(unit))}`)}
                  >
                    {className(unit, name)}
                  </button>
                  <div class="note">{count(n)} maps</div>
                </th>
                {methods.map(({ id }) => (
                  <td key={id}>{maps[id] ? <MeanMap codes={maps[id]} side={side!} /> : "–"}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </Panel>
  );
}

/** A map in grey, from `side` × `side` bytes in base64. */
function MeanMap({ codes, side }: { codes: string; side: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const bytes = Uint8Array.from(atob(codes), (c) => c.charCodeAt(0));
    const rgba = new Uint8ClampedArray(bytes.length * 4);
    bytes.forEach((value, i) => {
      rgba.set([value, value, value, 255], 4 * i);
    });
    canvas.current!.getContext("2d")!.putImageData(new ImageData(rgba, side, side), 0, 0);
  }, [codes, side]);
  return <canvas ref={canvas} class={styles.meanMap} width={side} height={side} aria-hidden="true" />;
}

function Words({ summary }: Props) {
  const { methods, least } = summary;
  const note = `${sampleText(summary)} Mean attribution of words that occur at least ${least} times, ± the standard error.`;
  return (
    <Panel id="global" title="Words" note={note}>
      <div class="charts">
        {methods.map(({ id, title, signed }) => {
          const words = summary.words![id];
          if (!words?.length) return null;
          const largest = Math.max(...words.map(({ mean }) => Math.abs(mean))) || 1;
          return (
            <figure key={id}>
              <figcaption>{title}</figcaption>
              <ul class={styles.words}>
                {words.map(({ word, n, mean, error }) => {
                  const { back, fore } = wordColour(mean, largest, signed, theme.value);
                  return (
                    <li key={word}>
                      <button
                        type="button"
                        style={{ background: css(back), color: css(fore) }}
                        title={`${plusMinus(mean, error)}, ${count(n)} times; show the examples`}
                        onClick={() => addFilterTerm(`text:${quote(word)}`)}
                      >
                        {word}
                      </button>
                      <span class="note">{attribution(mean, signed, 2)}</span>
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

function Features({ summary }: Props) {
  const note = `${sampleText(summary)} A point for each example; its colour is the feature's value, pale for small, dark for large; texts have no order.`;
  return (
    <Panel id="global" title="Features" note={note}>
      <div class="charts">
        {summary.methods.map(({ id, title }) => {
          const features = summary.features![id];
          if (!features?.length) return null;
          return (
            <figure key={id}>
              <figcaption>{title}</figcaption>
              <Beeswarm features={features} title={title} />
            </figure>
          );
        })}
      </div>
    </Panel>
  );
}

/** Of each input in the maps of every method. */
function Shares({ summary }: Props) {
  const { methods, shares } = summary;
  const inputs = [...new Set(Object.values(shares!).flatMap((ofMethod) => ofMethod.map(({ input }) => input)))];
  const note = `${sampleText(summary)} The mean share of each input in the sum of |a|. An input with many values may have a large share by their number alone.`;
  return (
    <Panel id="global" title="Inputs" note={note}>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">input</th>
              <MethodHeaders methods={methods} />
            </tr>
          </thead>
          <tbody>
            {inputs.map((input) => (
              <tr key={input}>
                <th scope="row">{input}</th>
                {methods.map(({ id }) => {
                  const share = shares![id]?.find((one) => one.input === input)?.mean ?? null;
                  return (
                    <td key={id}>
                      <span class={styles.share}>
                        <span style={{ width: `${(share ?? 0) * 100}%` }} />
                      </span>
                      {percent(share, 0)}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
