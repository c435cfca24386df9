// One text's map: words as chips in running text that copies as plain text.
import { useMemo } from "preact/hooks";
import type { Page } from "../api/pageOfMaps";
import type { Line, Method } from "../api/types";
import { short, withSign } from "../format/numbers";
import { theme } from "../state/host";
import { active, hover } from "../state/hover";
import { blanks, peek } from "../state/model";
import { css, wordColour } from "./colour";
import type { Piece, Word } from "./words";

interface Props {
  of: Page;
  row: number;
  column: number;
  map: Line;
  method: Method;
  tokens: readonly string[];
  words: readonly Word[];
  pieces: readonly Piece[];
  values: readonly number[];
  clip: number;
  unfold: () => void;
}

export function TextMap({ of, row, column, map, method, tokens, words, pieces, values, clip, unfold }: Props) {
  const perToken = useMemo(() => of.floats(map.values), [of, map]);
  const written = method.signed ? withSign : (v: number): string => short(v, 4);
  const enter = (event: PointerEvent): void => {
    const chip = (event.target as HTMLElement).closest<HTMLElement>("[data-w]");
    mark(event.currentTarget as HTMLElement, chip?.dataset["w"] ?? null);
    if (!chip) return leave(event);
    const word = words[Number(chip.dataset["w"])]!;
    const parts = word.tokens.length > 1 ? word.tokens.map((t) => `${tokens[t]}  ${written(perToken[t]!)}`) : [];
    active.value = { row, column };
    const note = word.special
      ? ["not part of the colour scale"]
      : Math.abs(values[Number(chip.dataset["w"])]!) > clip
        ? [`beyond the clip ${short(clip)}`]
        : [];
    hover.value = {
      x: event.clientX,
      y: event.clientY,
      value: written(values[Number(chip.dataset["w"])]!),
      lines: [`“${word.text}”`, ...parts, ...note],
    };
  };
  const leave = (event: PointerEvent): void => {
    mark(event.currentTarget as HTMLElement, null);
    hover.value = null;
    active.value = null;
  };
  const index = new Map(words.map((word, i) => [word, i]));
  return (
    <p class="text" dir="auto" onPointerMove={enter} onPointerLeave={leave}>
      {pieces.map((piece) => {
        if ("folded" in piece) {
          return (
            <button key={`f${piece.from}`} class="folded" type="button" tabIndex={-1} onClick={unfold}>
              {` … ${piece.folded} words … `}
            </button>
          );
        }
        const i = index.get(piece)!;
        const value = values[i]!;
        const plain = piece.special || peek.value;
        const colour = plain ? null : wordColour(value, clip, method.signed, theme.value);
        const kind = piece.special
          ? "special"
          : !Number.isFinite(value)
            ? "bad"
            : method.signed && value < 0 && Math.abs(value) > clip * 0.15
              ? "negative"
              : "";
        return (
          <>
            {piece.spaceBefore ? blanks.value ? <Marked text=" " /> : " " : ""}
            <span
              key={i}
              data-w={i}
              class={`word ${kind}`}
              style={colour ? { background: css(colour.back), color: css(colour.fore) } : {}}
            >
              {blanks.value ? <Marked text={piece.text} /> : piece.text}
            </span>
          </>
        );
      })}
    </p>
  );
}

const MARKS: Record<string, string> = { " ": "·", "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽" };

/** A text with marks where it is white; the marks are drawn, not written, and so are not copied. */
function Marked({ text }: { text: string }) {
  if (!/\s/.test(text)) return <>{text}</>;
  return (
    <>
      {text.split(/(\s)/).map((part, i) =>
        /\s/.test(part) ? (
          <span key={i} class="blank" data-mark={MARKS[part] ?? "␣"}>
            {part}
          </span>
        ) : (
          part
        ),
      )}
    </>
  );
}

/** Mark the same word in every column of the row. */
function mark(within: HTMLElement, word: string | null): void {
  const row = within.closest("[role=row]");
  row?.querySelectorAll(".word.same").forEach((chip) => chip.classList.remove("same"));
  if (word !== null) row?.querySelectorAll(`[data-w="${word}"]`).forEach((chip) => chip.classList.add("same"));
}
