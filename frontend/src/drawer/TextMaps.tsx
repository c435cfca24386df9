// The maps of one text at full length, one below the other.
import type { ValuesMap } from "../api/types";
import { TextMap } from "../maps/TextMap";
import { textRow } from "../maps/textRows";
import { pieces } from "../state/view";
import styles from "./Drawer.module.css";
import type { ShownPart } from "./shownPart";

export function TextMaps({ page, index, row, clips }: ShownPart) {
  const { input } = row;
  if (input.modality !== "text") return null;
  const { words, values } = textRow(page, row, pieces.value);
  return (
    <section data-row class={styles.texts}>
      {page.header.columns.map(({ key, title, method }, m) => {
        const map = row.maps[m];
        if (!map || map.error !== undefined) return null;
        return (
          <div key={key}>
            <h3>{title}</h3>
            <TextMap
              page={page}
              row={index}
              column={m}
              map={map as ValuesMap}
              method={method}
              tokens={input.tokens}
              words={words}
              pieces={words}
              values={values[m]!}
              clip={clips[m]!}
              unfold={() => undefined}
            />
          </div>
        );
      })}
    </section>
  );
}
