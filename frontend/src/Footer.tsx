// Paging, and what is not well with what is shown.
import { PAGE_SIZES } from "./hash";
import { change, page, turnPage, view } from "./model";
import { count } from "./numbers";

export function Footer() {
  const header = page.value?.page.header;
  if (!header) return null;
  const { offset, limit } = view.value;
  const last = offset + header.rows.length;
  const maps = header.rows.flatMap((row) => row.maps);
  const unread = maps.filter((map) => map?.error !== undefined).length;
  const odd = maps.filter((map) => map && map.error === undefined && map.not_finite > 0).length;
  return (
    <footer class="footer">
      <div class="health" role="status">
        {unread > 0 && <span class="bad">{count(unread)} maps on this page cannot be read</span>}
        {odd > 0 && <span>{odd === 1 ? "1 map" : `${count(odd)} maps`} on this page with values that are not finite</span>}
      </div>
      <nav class="pager" aria-label="pages">
        <button type="button" disabled={offset === 0} onClick={() => turnPage(-1)}>
          ‹ Previous
        </button>
        <span class="place" aria-live="polite">
          {header.total === 0 ? "0" : `${count(Math.min(offset + 1, last))}–${count(last)}`} of {count(header.total)}
        </span>
        <button type="button" disabled={offset + limit >= header.total} onClick={() => turnPage(1)}>
          Next ›
        </button>
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
