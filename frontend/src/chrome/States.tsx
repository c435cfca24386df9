// What stands in place of the grid or above it: nothing yet, a failure, loading, a newer version.
import type { ComponentChildren } from "preact";
import { count } from "../format/numbers";
import type { Failure } from "../state/failure";
import { page, pageFailure, summaryFailure } from "../state/loaded";
import { retry } from "../state/start";
import { newerStores, showNewVersion, store, stores, storesFailure } from "../state/stores";
import { view } from "../state/view";
import styles from "./States.module.css";

const SNIPPET = `import numpy as np
from tb_deepexplain.store.marker import write_marker
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.writer import StoreWriter

writer = StoreWriter(store_path("LOGDIR", "my_run", "attributions"))
with writer.shard("00000") as shard:
    shard.add(inputs=[Input("1", "text", tokens=["not", "bad"])],
              attributions=[Attribution("1", "saliency", np.array([0.2, 0.9]))])
writer.commit(["00000"], {"name": "attributions", "modality": "text", "methods": [
    {"id": "saliency", "title": "Saliency", "signed": False}]})
write_marker("LOGDIR", "my_run", "attributions")`;

function Message({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class={styles.message}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function RetryButton() {
  return (
    <button type="button" class="primary" onClick={retry}>
      Retry
    </button>
  );
}

function Failed({ failure: { sentence, route, status } }: { failure: Failure }) {
  return (
    <div role="alert">
      <Message title="This could not be loaded">
        <p>{sentence}</p>
        <p class={styles.route}>
          {route}
          {status !== null && ` · ${status}`}
        </p>
        <RetryButton />
      </Message>
    </div>
  );
}

/** A line above the page: a newer version of the store exists. */
export function NewVersionBar() {
  const newer = newerStores.value;
  if (!newer) return null;
  const n = newer.newExamples;
  return (
    <div class={styles.newVersion} role="status">
      <span>{n > 0 ? `${count(n)} new ${n === 1 ? "example" : "examples"}` : "This store has changed"}</span>
      <button type="button" class="primary" onClick={showNewVersion}>
        Show
      </button>
    </div>
  );
}

/** A line above the last page that could be loaded: the requested one could not. */
export function FailureBar() {
  const failure = pageFailure.value;
  if (!failure || !page.value) return null;
  return (
    <div class={styles.failure} role="alert">
      <span>
        {failure.sentence} <span class={styles.route}>{failure.route}</span>
      </span>
      <button type="button" onClick={retry}>
        Retry
      </button>
    </div>
  );
}

/** The state that replaces the pane, or null if the pane can be shown. */
export function fullState() {
  if (storesFailure.value) return <Failed failure={storesFailure.value} />;
  if (!stores.value) return <Skeleton />;
  if (stores.value.stores.length === 0) return <NoStores logdir={stores.value.logdir} />;
  if (!store.value) return <NoSuchStore />;
  if (store.value.error !== undefined) return <UnreadableStore error={store.value.error} />;
  if (view.value.pane === "summary") return summaryFailure.value ? <Failed failure={summaryFailure.value} /> : null;
  if (!page.value) return pageFailure.value ? <Failed failure={pageFailure.value} /> : <Skeleton />;
  return page.value.page.header.rows.length === 0 ? <NoExamples /> : null;
}

function NoStores({ logdir }: { logdir: string }) {
  return (
    <Message title="No attributions yet">
      <p>
        No run under <code>{logdir || "this logdir"}</code> announces an attribution store. Run{" "}
        <code>tb-deepexplain explain</code> with this directory as <code>--logdir</code>, or write a store yourself:
      </p>
      <pre>{SNIPPET}</pre>
    </Message>
  );
}

function NoSuchStore() {
  return (
    <Message title="This store does not exist">
      <p>
        TensorBoard lists no store <code>{view.value.store}</code> in run <code>{view.value.run}</code>. Choose another
        run above.
      </p>
    </Message>
  );
}

function UnreadableStore({ error }: { error: string }) {
  return (
    <div role="alert">
      <Message title="This store cannot be shown">
        <p>{error}</p>
        <RetryButton />
      </Message>
    </div>
  );
}

function NoExamples() {
  const { filter, offset } = view.value;
  const onlyErrors = filter === "is:error";
  const reason =
    offset > 0
      ? "This page is after the last example."
      : onlyErrors
        ? "Every example with a known label was classified as that label."
        : filter
          ? "No example meets every term of the filter. Remove one above."
          : "The store holds no maps for this selection.";
  return (
    <Message title={onlyErrors ? "Nothing is misclassified" : "Nothing to show"}>
      <p>{reason}</p>
    </Message>
  );
}

function Skeleton() {
  return (
    <div class={styles.skeleton} role="status" aria-busy="true" aria-label="loading">
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
