// Paging by pages, rank and value; and what is wrong with the shown page.
import type { PageHeader } from "../api/types";
import { count } from "../format/numbers";
import { PAGE_SIZES } from "../state/address";
import { page } from "../state/loaded";
import { goToRank, turnPage } from "../state/loadPages";
import { storeInfo } from "../state/stores";
import { change, view } from "../state/view";
import styles from "./Footer.module.css";
import { Scrubber } from "./Scrubber";

export function Footer() {
  const header = page.value?.page.header;
  if (!header) return null;
  const { offset, limit } = view.value;
  const { total, rows } = header;
  const last = offset + rows.length;
  const first = total === 0 ? "0" : `${count(Math.min(offset + 1, last))}–${count(last)}`;
  return (
    <footer class={styles.footer}>
      <Health header={header} />
      <nav class={styles.pager} aria-label="pages">
        <button type="button" disabled={offset === 0} onClick={() => turnPage(-1)}>
          ‹ Previous
        </button>
        <Scrubber header={header} />
        <button type="button" disabled={offset + limit >= total} onClick={() => turnPage(1)}>
          Next ›
        </button>
        <span class={styles.position} aria-live="polite">
          {first} of {count(total)}
        </span>
        {total > limit && <GoToRank total={total} />}
      </nav>
      <label class={`field ${styles.pageSize}`}>
        <select
          value={String(limit)}
          onChange={(event) => change({ limit: Number(event.currentTarget.value), offset: 0 })}
        >
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

/** Whether the store is complete, and which maps of the page cannot be read or are not finite. */
function Health({ header }: { header: PageHeader }) {
  const maps = header.rows.flatMap((row) => row.maps);
  const unreadable = maps.filter((map) => map?.error !== undefined).length;
  const notFinite = maps.filter((map) => map && map.error === undefined && map.not_finite > 0).length;
  const info = storeInfo.value;
  return (
    <div class={styles.health} role="status">
      {info?.complete === false && (
        <span title="the run that writes this store has not finished">{count(info.examples)} so far</span>
      )}
      {unreadable > 0 && <span class={styles.bad}>{count(unreadable)} maps on this page cannot be read</span>}
      {notFinite > 0 && (
        <span>
          {notFinite === 1 ? "1 map" : `${count(notFinite)} maps`} on this page with values that are not finite
        </span>
      )}
    </div>
  );
}

function GoToRank({ total }: { total: number }) {
  const submit = (event: Event): void => {
    event.preventDefault();
    const input = (event.currentTarget as HTMLFormElement).elements.namedItem("rank") as HTMLInputElement;
    const rank = Number(input.value);
    if (input.value && Number.isFinite(rank)) goToRank(Math.min(total, Math.max(1, rank)) - 1);
    input.value = "";
    input.blur();
  };
  return (
    <form onSubmit={submit}>
      <input
        class={styles.rank}
        data-key="g"
        name="rank"
        type="number"
        min={1}
        max={total}
        placeholder="go to"
        aria-label="go to rank"
      />
    </form>
  );
}
