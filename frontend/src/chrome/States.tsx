// What stands in place of the grid: nothing yet, something wrong, still loading.

import { count } from "../format/numbers";
import {
  type Failure,
  fresh,
  page,
  pageFailure,
  retry,
  showFresh,
  store,
  stores,
  storesFailure,
  view,
} from "../state/model";

const SNIPPET = `import numpy as np
from tb_deepexplain.marker import write_marker
from tb_deepexplain.record import Attribution, Input
from tb_deepexplain.store import StoreWriter, store_path

writer = StoreWriter(store_path("LOGDIR", "my_run", "attributions"))
with writer.shard("00000") as shard:
    shard.add(inputs=[Input("1", "text", tokens=["not", "bad"])],
              attributions=[Attribution("1", "saliency", np.array([0.2, 0.9]))])
writer.commit(["00000"], {"name": "attributions", "kind": "text", "methods": [
    {"id": "saliency", "title": "Saliency", "signed": False}]})
write_marker("LOGDIR", "my_run", "attributions")`;

function Message({ title, children }: { title: string; children: preact.ComponentChildren }) {
  return (
    <section class="message">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

export function Failed({ failure }: { failure: Failure }) {
  return (
    <div role="alert">
      <Message title="This could not be loaded">
        <p>{failure.sentence}</p>
        <p class="route">
          {failure.route}
          {failure.status !== null && ` · ${failure.status}`}
        </p>
        <button type="button" class="primary" onClick={retry}>
          Retry
        </button>
      </Message>
    </div>
  );
}

/** A line that says that there is more to see. */
export function FreshBar() {
  const found = fresh.value;
  if (!found) return null;
  return (
    <div class="fresh-bar" role="status">
      <span>
        {found.more > 0
          ? `${count(found.more)} new ${found.more === 1 ? "example" : "examples"}`
          : "This store has changed"}
      </span>
      <button type="button" class="primary" onClick={showFresh}>
        Show
      </button>
    </div>
  );
}

/** A line over an old page that is still worth reading. */
export function FailureBar() {
  const failure = pageFailure.value;
  if (!failure || !page.value) return null;
  return (
    <div class="failure-bar" role="alert">
      <span>
        {failure.sentence} <span class="route">{failure.route}</span>
      </span>
      <button type="button" onClick={retry}>
        Retry
      </button>
    </div>
  );
}

const onlyErrors = (): boolean => view.value.filter === "is:error";

/** The full-page state, or null where the grid is to be drawn. */
export function fullState() {
  if (storesFailure.value) return <Failed failure={storesFailure.value} />;
  if (!stores.value) return <Skeleton />;
  if (stores.value.stores.length === 0) {
    return (
      <Message title="No attributions yet">
        <p>
          No run under <code>{stores.value.logdir || "this logdir"}</code> announces an attribution store. Run{" "}
          <code>tb-deepexplain explain</code> with this directory as <code>--logdir</code>, or write a store yourself:
        </p>
        <pre>{SNIPPET}</pre>
      </Message>
    );
  }
  const chosen = store.value;
  if (!chosen) {
    return (
      <Message title="This store is not here">
        <p>
          TensorBoard lists no store <code>{view.value.store}</code> in run <code>{view.value.run}</code>. Choose
          another run above.
        </p>
      </Message>
    );
  }
  if (chosen.error !== undefined) {
    return (
      <div role="alert">
        <Message title="This store cannot be shown">
          <p>{chosen.error}</p>
          <button type="button" class="primary" onClick={retry}>
            Retry
          </button>
        </Message>
      </div>
    );
  }
  if (view.value.pane === "summary") return null;
  if (pageFailure.value && !page.value) return <Failed failure={pageFailure.value} />;
  if (!page.value) return <Skeleton />;
  if (page.value.page.header.rows.length === 0) {
    return (
      <Message title={onlyErrors() ? "Nothing is misclassified" : "Nothing to show"}>
        <p>
          {view.value.offset > 0
            ? "This page lies behind the last example."
            : onlyErrors()
              ? "Every example with a known label was classified as that label."
              : view.value.filter
                ? "No example meets every term of the filter. Take one away above."
                : "The store holds no maps for this selection."}
        </p>
      </Message>
    );
  }
  return null;
}

function Skeleton() {
  return (
    <div class="skeleton" aria-busy="true" aria-label="loading">
      {[0, 1, 2, 3].map((i) => (
        <div key={i}>
          <span />
          <span />
          <span />
          <span />
        </div>
      ))}
    </div>
  );
}
