// The whole order in one strip: a histogram of the field that it is sorted by, or a slider over the ranks.
import type { Facet, PageHeader } from "../api/types";
import { count, percent, short } from "../format/numbers";
import { facet } from "../state/loaded";
import { goToRank } from "../state/loadPages";
import { storeInfo } from "../state/stores";
import { view } from "../state/view";
import styles from "./Scrubber.module.css";
import { sortTitle } from "./sorts";

const [WIDTH, HEIGHT] = [260, 22];
const MIN_BAR = 1.5;

export function Scrubber({ header }: { header: PageHeader }) {
  const { offset, sort, descending, limit } = view.value;
  const { total } = header;
  if (total <= limit) return null;
  if (facet.value && facet.value.field === sort && facet.value.counts.length > 1)
    return <Histogram facet={facet.value} offset={offset} descending={descending} />;
  return (
    <input
      class={styles.slider}
      type="range"
      min={0}
      max={Math.max(1, total - 1)}
      step={1}
      value={offset}
      aria-label="position in the order"
      aria-valuetext={`from ${count(offset + 1)} of ${count(total)}`}
      onChange={(event) => goToRank(Number(event.currentTarget.value))}
    />
  );
}

interface Bin {
  count: number;
  low: number;
  high: number;
  /** The rank of the first example. */
  start: number;
}

function Histogram({ facet, offset, descending }: { facet: Facet; offset: number; descending: boolean }) {
  const { counts, edges, starts, total } = facet;
  const bins = counts.map((n, i): Bin => ({ count: n, low: edges[i]!, high: edges[i + 1]!, start: starts[i]! }));
  if (descending) bins.reverse();
  const largest = Math.max(...counts);
  const width = WIDTH / bins.length;
  const shown = bins.findLastIndex((bin) => bin.start <= offset && bin.count > 0);
  const field = storeInfo.value ? sortTitle(facet.field, storeInfo.value) : facet.field;
  const title = (bin: Bin): string => {
    const share = percent((bin.start + bin.count) / total, 1);
    const range = `${short(bin.low)} to ${short(bin.high)}`;
    return `${field} ${range}: ${count(bin.count)} examples, from rank ${count(bin.start + 1)} (top ${share})`;
  };
  // The square root keeps small counts visible.
  const heightOf = (bin: Bin): number => (bin.count ? Math.max(MIN_BAR, Math.sqrt(bin.count / largest) * HEIGHT) : 0);
  return (
    <svg class={styles.histogram} width={WIDTH} height={HEIGHT + 2} role="group" aria-label={`histogram of ${field}`}>
      {bins.map((bin, i) => (
        // biome-ignore lint/a11y/noStaticElementInteractions: by keyboard, "g" goes to a rank
        <g key={bin.low} data-shown={i === shown || undefined} onClick={() => bin.count > 0 && goToRank(bin.start)}>
          <title>{title(bin)}</title>
          <rect class={styles.catch} x={i * width} y={0} width={width} height={HEIGHT + 2} />
          <rect
            class={styles.count}
            x={i * width + 0.5}
            y={HEIGHT - heightOf(bin)}
            width={Math.max(0.5, width - 1)}
            height={heightOf(bin)}
          />
        </g>
      ))}
      {shown >= 0 && <rect class={styles.mark} x={shown * width} y={HEIGHT} width={Math.max(2, width)} height={2} />}
    </svg>
  );
}
