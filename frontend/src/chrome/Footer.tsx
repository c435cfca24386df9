// Paging by steps, by rank and by value; and what is not well with what is shown.

import type { Facet, PageHeader, StoreInfo } from "../api/types";
import { count, percent, short } from "../format/numbers";
import { PAGE_SIZES } from "../state/address";
import { change, facet, goTo, page, store, turnPage, view } from "../state/model";
import { sortTitle } from "./sorts";

export function Footer() {
  const header = page.value?.page.header;
  if (!header) return null;
  const { offset, limit } = view.value;
  const last = offset + header.rows.length;
  return (
    <footer class="footer">
      <Health header={header} />
      <nav class="pager" aria-label="pages">
        <button type="button" disabled={offset === 0} onClick={() => turnPage(-1)}>
          ‹ Previous
        </button>
        <Scrubber header={header} />
        <button type="button" disabled={offset + limit >= header.total} onClick={() => turnPage(1)}>
          Next ›
        </button>
        <span class="place" aria-live="polite">
          {header.total === 0 ? "0" : `${count(Math.min(offset + 1, last))}–${count(last)}`} of {count(header.total)}
        </span>
        {header.total > limit && <GoTo total={header.total} />}
      </nav>
      <label class="field page-size">
        <select value={String(limit)} onChange={(e) => change({ limit: Number(e.currentTarget.value), offset: 0 })}>
          {PAGE_SIZES.map((n) => (
            <option key={n} value={String(n)} selected={n === limit}>
              {n}
            </option>
          ))}
        </select>
        <span>a page</span>
      </label>
    </footer>
  );
}

function Health({ header }: { header: PageHeader }) {
  const maps = header.rows.flatMap((row) => row.maps);
  const unread = maps.filter((map) => map?.error !== undefined).length;
  const odd = maps.filter((map) => map && map.error === undefined && map.not_finite > 0).length;
  const info = store.value as StoreInfo | null;
  return (
    <div class="health" role="status">
      {info?.complete === false && (
        <span title="the run that writes this store has not finished">{count(info.examples)} so far</span>
      )}
      {unread > 0 && <span class="bad">{count(unread)} maps on this page cannot be read</span>}
      {odd > 0 && (
        <span>{odd === 1 ? "1 map" : `${count(odd)} maps`} on this page with values that are not finite</span>
      )}
    </div>
  );
}

function GoTo({ total }: { total: number }) {
  const go = (event: Event): void => {
    event.preventDefault();
    const input = (event.currentTarget as HTMLFormElement).elements.namedItem("rank") as HTMLInputElement;
    const rank = Number(input.value);
    if (input.value && Number.isFinite(rank)) goTo(Math.min(total, Math.max(1, rank)) - 1);
    input.value = "";
    input.blur();
  };
  return (
    <form onSubmit={go}>
      <input class="go-to" name="rank" type="number" min={1} max={total} placeholder="go to" aria-label="go to rank" />
    </form>
  );
}

const [WIDTH, HEIGHT] = [260, 22];

/** The whole order in one strip: the histogram of what it is sorted by where that is a number, else ranks alone. */
function Scrubber({ header }: { header: PageHeader }) {
  const { offset, sort, descending } = view.value;
  const found = facet.value;
  if (header.total <= view.value.limit) return null;
  if (found && found.field === sort && found.counts.length > 1)
    return <Histogram of={found} offset={offset} descending={descending} />;
  const last = Math.max(1, header.total - 1);
  return (
    <input
      class="scrubber"
      type="range"
      min={0}
      max={last}
      step={1}
      value={offset}
      aria-label="position in the order"
      aria-valuetext={`from ${count(offset + 1)} of ${count(header.total)}`}
      onChange={(e) => goTo(Number(e.currentTarget.value))}
    />
  );
}

function Histogram({ of, offset, descending }: { of: Facet; offset: number; descending: boolean }) {
  const bins = of.counts.map((n, i) => ({ n, low: of.edges[i]!, high: of.edges[i + 1]!, start: of.starts[i]! }));
  const ordered = descending ? [...bins].reverse() : bins;
  const most = Math.max(...of.counts);
  const wide = WIDTH / ordered.length;
  const here = ordered.reduce((last, bin, i) => (bin.start <= offset && bin.n > 0 ? i : last), -1);
  const info = store.value as StoreInfo;
  const title = (bin: (typeof bins)[number]): string =>
    `${sortTitle(of.field, info)} ${short(bin.low)} to ${short(bin.high)}: ${count(bin.n)} examples, from rank ${count(bin.start + 1)} (top ${percent((bin.start + bin.n) / of.total, 1)})`;
  return (
    <svg
      class="histogram"
      width={WIDTH}
      height={HEIGHT + 2}
      role="group"
      aria-label={`histogram of ${sortTitle(of.field, info)}`}
    >
      {ordered.map((bin, i) => (
        // The square root keeps what is rare in sight.
        <g key={i} class={i === here ? "here" : ""} onClick={() => bin.n > 0 && goTo(bin.start)}>
          <title>{title(bin)}</title>
          <rect class="catch" x={i * wide} y={0} width={wide} height={HEIGHT + 2} />
          <rect
            class="count"
            x={i * wide + 0.5}
            y={HEIGHT - (bin.n ? Math.max(1.5, Math.sqrt(bin.n / most) * HEIGHT) : 0)}
            width={Math.max(0.5, wide - 1)}
            height={bin.n ? Math.max(1.5, Math.sqrt(bin.n / most) * HEIGHT) : 0}
          />
        </g>
      ))}
      {here >= 0 && <rect class="mark" x={here * wide} y={HEIGHT} width={Math.max(2, wide)} height={2} />}
    </svg>
  );
}
