// The keys, in a dialog.
import { useEffect, useRef } from "preact/hooks";
import { helpOpen } from "../state/interaction";
import styles from "./Help.module.css";

const KEYS: [string[], string][] = [
  [["j", "k"], "next, previous example"],
  [["←", "↑", "↓", "→"], "move between cells"],
  [["Enter"], "open the example next to the grid"],
  [["Esc"], "close it"],
  [["n", "p"], "next, previous page"],
  [["g"], "go to a rank"],
  [["/"], "filter"],
  [["[", "]"], "previous, next step"],
  [["1", "9"], "one column alone; repeat, or 0: all"],
  [["c"], "clip: p90, p95, p99, p100"],
  [["s"], "scale: each map, each row, whole page"],
  [["o"], "hold: the input alone"],
  [["y"], "copy a link to this view"],
  [["?"], "this list"],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helpOpen.value && !dialog.current?.open) dialog.current?.showModal();
  }, [helpOpen.value]);
  const closed = (): void => {
    helpOpen.value = false;
  };
  return (
    <dialog ref={dialog} class={styles.help} onClose={closed} aria-labelledby="help-title">
      <h2 id="help-title">Keyboard</h2>
      <dl>
        {KEYS.map(([keys, meaning]) => (
          <div key={meaning}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </dialog>
  );
}
