// Which examples: a line of terms to type in, and each term in force as a chip that can be taken away.
import { useEffect, useRef } from "preact/hooks";
import type { StoreInfo } from "../api/types";
import { terms, without } from "../state/filter";
import { change, page, view } from "../state/model";

export function FilterBox({ info }: { info: StoreInfo }) {
  const input = useRef<HTMLInputElement>(null);
  const { filter } = view.value;
  useEffect(() => {
    if (input.current && document.activeElement !== input.current) input.current.value = "";
  }, [filter]);
  const apply = (event: Event): void => {
    event.preventDefault();
    const typed = input.current!.value.trim();
    if (typed) change({ filter: `${filter} ${typed}`.trim() }, true);
    input.current!.value = "";
  };
  const wrong = terms(filter).includes("is:error");
  const toggle = (): void => {
    const rest = terms(filter).filter((t) => t !== "is:error" && t !== "is:correct");
    change({ filter: (wrong ? rest : [...rest, "is:error"]).join(" ") });
  };
  return (
    <form class="filter" onSubmit={apply} role="search">
      <label class="toggle">
        <input type="checkbox" checked={wrong} onChange={toggle} />
        <span>misclassified only</span>
      </label>
      {terms(filter).map((term, i) => (
        <span class="chip" key={`${i} ${term}`}>
          {term}
          <button
            type="button"
            title="remove"
            aria-label={`remove ${term}`}
            onClick={() => change({ filter: without(filter, i) }, true)}
          >
            ×
          </button>
        </span>
      ))}
      <input
        ref={input}
        class="filter-input"
        type="text"
        list="filter-hints"
        aria-label="Filter"
        spellcheck={false}
        autocomplete="off"
        maxLength={500}
        placeholder={hint(info)}
      />
      <datalist id="filter-hints">
        {hints(info, page.value?.page.header.fields ?? []).map((one) => (
          <option key={one} value={one} />
        ))}
      </datalist>
    </form>
  );
}

const hint = (info: StoreInfo): string =>
  `Filter, such as label:cat pred:!cat probability>0.9 gap>5%${info.kind === "text" ? ' text:"not bad"' : ""}`;

function hints(info: StoreInfo, fields: readonly string[]): string[] {
  const own = info.methods.flatMap((m) => [
    ...(m.sums_to === null ? [] : [`${m.id}.gap>`]),
    ...info.measures.map((measure) => `${m.id}.${measure.id}${measure.better === "higher" ? "<" : ">"}`),
  ]);
  const texts = info.kind === "text" ? ["text:"] : [];
  return [
    "is:error",
    "is:correct",
    "label:",
    "pred:",
    "id:",
    ...texts,
    "has:warning",
    ...fields.map((f) => `${f}>`),
    ...own,
  ];
}
