// Which examples: a line to type terms in, and a chip for each term of the filter, which removes it.
import { useEffect, useRef } from "preact/hooks";
import type { PageHeader, StoreInfo } from "../api/types";
import { hasTexts } from "../maps/partPages";
import { fieldText, sliceTerm, terms, withoutTerm } from "../state/filterTerms";
import { page } from "../state/loaded";
import { change, view } from "../state/view";
import { Toggle } from "./Fields";
import styles from "./FilterBox.module.css";

export function FilterBox({ info }: { info: StoreInfo }) {
  const input = useRef<HTMLInputElement>(null);
  const { filter } = view.value;
  const header = page.value?.page.header;
  const areJudged = header?.are_judged ?? true;
  useEffect(() => {
    if (input.current && document.activeElement !== input.current) input.current.value = "";
  }, [filter]);
  const apply = (event: Event): void => {
    event.preventDefault();
    const typed = input.current!.value.trim();
    if (typed) change({ filter: `${filter} ${typed}`.trim() }, true);
    input.current!.value = "";
  };
  const onlyErrors = terms(filter).includes("is:error");
  const toggleErrors = (): void => {
    const others = terms(filter).filter((term) => term !== "is:error" && term !== "is:correct");
    change({ filter: (onlyErrors ? others : [...others, "is:error"]).join(" ") });
  };
  return (
    <form class={styles.filter} onSubmit={apply} role="search">
      {(areJudged || onlyErrors) && <Toggle name="misclassified only" checked={onlyErrors} set={toggleErrors} />}
      {terms(filter).map((term, i) => (
        <span class={styles.chip} key={`${i} ${term}`}>
          {term}
          <button
            type="button"
            title="remove"
            aria-label={`remove ${term}`}
            onClick={() => change({ filter: withoutTerm(filter, i) }, true)}
          >
            ×
          </button>
        </span>
      ))}
      <input
        ref={input}
        class={styles.input}
        data-key="/"
        type="text"
        list="filter-hints"
        aria-label="Filter"
        spellcheck={false}
        autocomplete="off"
        maxLength={500}
        placeholder={placeholder(info)}
      />
      <datalist id="filter-hints">
        {hints(info, header).map((hint) => (
          <option key={hint} value={hint} />
        ))}
      </datalist>
    </form>
  );
}

function placeholder({ modality, slices }: StoreInfo): string {
  const slice = slices.find(({ values }) => values?.length);
  const ofSlice = slice ? ` ${sliceTerm(slice.field, slice.values![0]!)}` : "";
  const text = modality === "text" ? ' text:"not bad"' : "";
  return `Filter, such as label:cat pred:!cat probability>0.9 gap>5%${ofSlice}${text}`;
}

/** Beginnings of terms, for the browser to offer. */
function hints({ modality, methods, measures, slices }: StoreInfo, header: PageHeader | undefined): string[] {
  const ofMethods = methods.flatMap(({ id, sums_to }) => [
    ...(sums_to === null ? [] : [`${id}.gap>`]),
    ...measures.map((measure) => `${id}.${measure.id}${measure.better === "higher" ? "<" : ">"}`),
  ]);
  const ofTexts = modality === "text" || (header && hasTexts(header)) ? ["text:"] : [];
  const ofSlices = slices.flatMap(({ field, type, values }) =>
    type === "number"
      ? [`${fieldText(field)}>`]
      : (values?.map((v) => sliceTerm(field, v)) ?? [`${fieldText(field)}:`]),
  );
  const ofFields = (header?.fields ?? []).map((field) => `${field}>`);
  return [
    ...((header?.are_judged ?? true) ? ["is:error", "is:correct"] : []),
    "label:",
    "pred:",
    "id:",
    ...ofTexts,
    ...ofSlices,
    "has:warning",
    ...ofFields,
    ...ofMethods,
  ];
}
