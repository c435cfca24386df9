// Column heads: the method, how channels are reduced, and the legend with the numbers at its ends.
import type { ComponentChildren } from "preact";
import type { Page } from "../api/pageOfMaps";
import { exportUrl } from "../api/requests";
import { parameterTexts } from "../format/names";
import { count, MINUS, short } from "../format/numbers";
import { clips, SCOPE_TITLES } from "../maps/clips";
import { gradient } from "../maps/colour";
import { hasPictures } from "../maps/partPages";
import { theme } from "../state/host";
import { active, isHidden } from "../state/interaction";
import { page as shownPage } from "../state/loaded";
import { storeInfo } from "../state/stores";
import { scope, view } from "../state/view";
import gridStyles from "./Grid.module.css";
import styles from "./Header.module.css";

export function Header({ page }: { page: Page }) {
  const { modality, columns, total, version } = page.header;
  const errors = storeInfo.value?.errors ?? 0;
  return (
    // biome-ignore lint/a11y/useFocusableInteractive: the tab order holds one cell of the rows below
    <div role="row" class={`${gridStyles.row} ${gridStyles.header}`} aria-rowindex={1}>
      <Head title={`${count(total)} ${total === 1 ? "example" : "examples"}`} class={gridStyles.example}>
        <div class={styles.note}>
          {errors > 0 ? (
            <span title="the errors files of this store hold the reasons">{count(errors)} could not be explained</span>
          ) : (
            "predicted class"
          )}
          {" · "}
          <a
            href={exportUrl(view.value, version)}
            download
            title={`the numbers of these examples, at most ${count(100_000)} of them`}
          >
            CSV
          </a>
        </div>
      </Head>
      {hasPictures(page.header) && <Head title="Input" />}
      {columns.map(({ key, title, method }, m) => (
        <Head
          key={key}
          title={title}
          tooltip={[title, ...parameterTexts(method.parameters)].join("\n")}
          class={isHidden(m) ? gridStyles.hidden : ""}
        >
          <div class={styles.note}>
            {method.signed ? "signed" : "unsigned"}
            {method.reduction && ` · channel ${method.reduction}`}
          </div>
          <Legend column={m} signed={method.signed} isText={modality === "text"} isWide={modality !== "image"} />
        </Head>
      ))}
    </div>
  );
}

interface HeadProps {
  title: string;
  tooltip?: string;
  class?: string | undefined;
  children?: ComponentChildren;
}

function Head({ title, tooltip, class: look = "", children }: HeadProps) {
  return (
    // biome-ignore lint/a11y/useFocusableInteractive: the tab order holds one cell of the rows below
    <div role="columnheader" class={`${gridStyles.cell} ${look}`}>
      <div class={styles.title} title={tooltip}>
        {title}
      </div>
      {children}
    </div>
  );
}

/** The colours of a column; at the ends the clip of the map under the pointer, or of all maps with a shared scale. */
export function Legend(props: { column: number; signed: boolean; isText: boolean; isWide: boolean }) {
  const { column, signed, isText, isWide } = props;
  const { clip } = view.value;
  const shared = scope.value;
  const pointed = active.value;
  const isPointed = pointed && (shared === "row" || pointed.column === column);
  const isMixed = shownPage.value?.page.header.modality === "mixed";
  const row = isMixed ? null : shared === "page" ? 0 : isPointed ? pointed.row : null;
  const end = row === null ? clip : short(clips.value[row]?.[column] ?? 0);
  const ofLargest = shared === "map" ? "" : " (the largest of its maps)";
  const numbers = isMixed ? "for each input by itself" : "point at a map for its numbers";
  const title = `colours end at the ${clip} of |a|, taken over ${SCOPE_TITLES[shared]}${ofLargest}; ${numbers}`;
  return (
    <div class={`${styles.legend} ${isWide ? styles.wide : ""}`} title={title}>
      <div class={styles.ramp} style={{ background: gradient(signed, isText ? theme.value : null) }} />
      <div class={styles.ends}>
        <span>{signed ? `${MINUS}${end}` : "0"}</span>
        {signed && <span>0</span>}
        <span>{signed ? `+${end}` : end}</span>
      </div>
    </div>
  );
}
