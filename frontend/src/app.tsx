// Puts the page together and starts it.
import "./page.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Footer } from "./chrome/Footer";
import { Help } from "./chrome/Help";
import { watchKeys } from "./chrome/keyboard";
import { FailureBar, fullState, NewVersionBar } from "./chrome/States";
import { Toolbar } from "./chrome/Toolbar";
import { Tooltip } from "./chrome/Tooltip";
import { Drawer } from "./drawer/Drawer";
import { Grid } from "./grid/Grid";
import { watchTheme } from "./state/host";
import { cursor } from "./state/interaction";
import { page } from "./state/loaded";
import { startState } from "./state/start";
import { stores } from "./state/stores";
import { view } from "./state/view";
import { Summary } from "./summary/Summary";

function App() {
  const state = fullState();
  const main = useRef<HTMLElement>(null);
  const shown = page.value;
  const isSummary = view.value.pane === "summary";
  const showsGrid = state === null && !isSummary;
  useEffect(() => main.current?.scrollTo({ top: 0 }), [shown?.url]);
  return (
    <>
      <h1 class="unseen">Attributions</h1>
      {(stores.value?.stores.length ?? 0) > 0 && <Toolbar />}
      <FailureBar />
      <NewVersionBar />
      <div class="panes">
        <main ref={main}>{state ?? (isSummary ? <Summary /> : shown && <Grid page={shown.page} />)}</main>
        {showsGrid && <Drawer />}
      </div>
      {showsGrid && <Footer />}
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
  startState();
  effect(() => {
    void page.value;
    cursor.value = { row: 0, column: 0 };
  });
  render(<App />, document.body);
}
