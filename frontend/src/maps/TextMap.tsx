// The map of a text: coloured words in running text that copies as plain text.
import { type ComponentChildren, Fragment } from "preact";
import { useMemo } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import type { Method, ValuesMap } from "../api/types";
import { attribution, short } from "../format/numbers";
import { theme } from "../state/host";
import { active, hover, leave, peek } from "../state/interaction";
import { blanks } from "../state/view";
import { css, wordColour } from "./colour";
import styles from "./TextMap.module.css";
import type { Piece, Word } from "./words";

interface Props {
  page: Page;
  row: number;
  column: number;
  map: ValuesMap;
  method: Method;
  tokens: readonly string[];
  words: readonly Word[];
  /** The words to show, and what is folded between them. */
  pieces: readonly Piece[];
  /** One value a word. */
  values: readonly number[];
  clip: number;
  unfold: () => void;
}

/** Negative words are underlined from this share of the clip. */
const UNDERLINED_FROM = 0.15;

export function TextMap(props: Props) {
  const { page, row, column, map, method, tokens, words, pieces, values, clip, unfold } = props;
  const tokenValues = useMemo(() => page.floats(map.values), [page, map]);
  const enter = (event: PointerEvent): void => {
    const chip = (event.target as HTMLElement).closest<HTMLElement>("[data-word]");
    if (!chip) {
      end(event);
      return;
    }
    const index = Number(chip.dataset.word);
    highlight(event.currentTarget as HTMLElement, index);
    const word = words[index]!;
    const value = values[index]!;
    const written = (v: number): string => attribution(v, method.signed);
    const parts = word.tokens.length > 1 ? word.tokens.map((t) => `${tokens[t]}  ${written(tokenValues[t]!)}`) : [];
    const note = word.special
      ? ["not part of the colour scale"]
      : Math.abs(value) > clip
        ? [`beyond the clip ${short(clip)}`]
        : [];
    active.value = { row, column };
    hover.value = {
      x: event.clientX,
      y: event.clientY,
      value: written(value),
      lines: [`“${word.text}”`, ...parts, ...note],
    };
  };
  const end = (event: PointerEvent): void => {
    highlight(event.currentTarget as HTMLElement, null);
    leave();
  };
  const indices = new Map(words.map((word, i) => [word, i]));
  return (
    <p class={styles.text} dir="auto" data-text={page.part?.name ?? ""} onPointerMove={enter} onPointerLeave={end}>
      {pieces.map((piece) => {
        if ("folded" in piece)
          return (
            <button key={`folded ${piece.from}`} class={styles.folded} type="button" tabIndex={-1} onClick={unfold}>
              {` … ${piece.folded} words … `}
            </button>
          );
        const index = indices.get(piece)!;
        return chip(piece, index, values[index]!, clip, method.signed);
      })}
    </p>
  );
}

// Functions instead of components: a page has thousands of words.
function chip(word: Word, index: number, value: number, clip: number, signed: boolean) {
  const colour = word.special || peek.value ? null : wordColour(value, clip, signed, theme.value);
  const underlined = signed && value < 0 && Math.abs(value) > clip * UNDERLINED_FROM;
  const look = word.special ? styles.special : !Number.isFinite(value) ? styles.bad : underlined ? styles.negative : "";
  return (
    <Fragment key={index}>
      {word.spaceBefore && marked(" ")}
      <span
        data-word={index}
        class={`${styles.word} ${look}`}
        style={colour ? { background: css(colour.back), color: css(colour.fore) } : {}}
      >
        {marked(word.text)}
      </span>
    </Fragment>
  );
}

const MARKS: Record<string, string> = { " ": "·", "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽" };

/** A text; if the view marks blanks, with marks that are drawn in CSS and therefore not copied. */
function marked(text: string): ComponentChildren {
  if (!blanks.value || !/\s/.test(text)) return text;
  return text.split(/(\s)/).map((part) =>
    /\s/.test(part) ? (
      <span class={styles.blank} data-mark={MARKS[part] ?? "␣"}>
        {part}
      </span>
    ) : (
      part
    ),
  );
}

/** Highlight one word of a text in every column of the row. */
function highlight(within: HTMLElement, index: number | null): void {
  const row = within.closest("[role=row], [data-row]");
  for (const text of row?.querySelectorAll<HTMLElement>("[data-text]") ?? [])
    for (const chip of text.dataset.text === within.dataset.text
      ? text.querySelectorAll<HTMLElement>("[data-word]")
      : [])
      chip.classList.toggle(styles.same!, chip.dataset.word === String(index));
}
