// Puts the page together and starts it.
import { effect } from "@preact/signals";
import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Footer } from "./chrome/Footer";
import { Help } from "./chrome/Help";
import { watchKeys } from "./chrome/keyboard";
import { FailureBar, FreshBar, fullState } from "./chrome/States";
import { Toolbar } from "./chrome/Toolbar";
import { Tooltip } from "./chrome/Tooltip";
import { Drawer } from "./drawer/Drawer";
import { cursor, Grid } from "./grid/Grid";
import { watchTheme } from "./state/host";
import { page, startModel, stores, view } from "./state/model";
import { Summary } from "./summary/Summary";
import "./style.css";

function App() {
  const state = fullState();
  const scroller = useRef<HTMLElement>(null);
  const shown = page.value;
  const summary = view.value.pane === "summary";
  useEffect(() => scroller.current?.scrollTo({ top: 0 }), [shown?.url]);
  return (
    <>
      <h1 class="unseen">Attributions</h1>
      {(stores.value?.stores.length ?? 0) > 0 && <Toolbar />}
      <FailureBar />
      <FreshBar />
      <div class="middle">
        <main ref={scroller}>{state ?? (summary ? <Summary /> : shown && <Grid of={shown.page} />)}</main>
        {state === null && !summary && <Drawer />}
      </div>
      {state === null && !summary && <Footer />}
      <Tooltip />
      <Help />
    </>
  );
}

export function start(): void {
  document.documentElement.lang = "en";
  document.title = "DeepExplain";
  watchTheme();
  watchKeys();
  startModel();
  effect(() => {
    void page.value;
    cursor.value = { row: 0, column: 0 };
  });
  render(<App />, document.body);
}
