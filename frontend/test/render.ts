// Renders components into the document, and answers of the server for them.
import { type ComponentChild, render } from "preact";
import { act } from "preact/test-utils";
import { afterEach } from "vitest";
import type { Page } from "../src/api/pageOfMaps";
import type {
  Method,
  PageHeader,
  PictureMap,
  Row,
  StoreInfo,
  TabularInput,
  TextInput,
  ValuesMap,
} from "../src/api/types";

let container: HTMLElement | null = null;

/** Render a component alone; the last one is removed after each test. */
export function show(component: ComponentChild): HTMLElement {
  remove();
  container = document.body.appendChild(document.createElement("div"));
  act(() => render(component, container!));
  return container;
}

function remove(): void {
  if (!container) return;
  render(null, container);
  container.remove();
  container = null;
}

afterEach(remove);

/** Do something, and wait until it is drawn. */
export const perform = (action: () => void): void => {
  void act(action);
};

export const texts = (elements: Iterable<Element>): string[] => [...elements].map((element) => element.textContent!);

export function button(within: HTMLElement, name: string): HTMLButtonElement {
  const buttons = [...within.querySelectorAll("button")];
  const match = buttons.find((b) => b.textContent === name || b.getAttribute("aria-label") === name);
  if (!match) throw new Error(`no button ${name}; there are ${texts(buttons).join(", ")}`);
  return match;
}

export const method = (patch: Partial<Method> = {}): Method => ({
  id: "integrated_gradients",
  title: "Integrated gradients",
  family: "gradient",
  signed: true,
  sums_to: "difference",
  parameters: {},
  reduction: null,
  ...patch,
});

const facts = {
  target: 1,
  target_name: "dog",
  target_index: [1],
  score_function: null,
  score: 3,
  probability: 0.75,
  baseline_score: 1,
  gap: 0.02,
  relative_gap: 0.01,
  evaluations: 50,
  warnings: [],
  step: null,
};
const scale = { zero: false, not_finite: 0, scale: 1, quantiles: [0.1, 0.2, 0.3, 0.4, 0.5] as PictureMap["quantiles"] };

export const pictureMap = (patch: Partial<PictureMap> = {}): PictureMap => ({
  ...facts,
  ...scale,
  shape: [2, 2],
  full: [2, 2],
  codes: { offset: 0, length: 4 },
  ...patch,
});

/** A map of floats; its values are in `floatPage`. */
export const valuesMap = (length: number, patch: Partial<ValuesMap> = {}): ValuesMap => ({
  ...facts,
  ...scale,
  length,
  values: { offset: 0, length: 4 * length },
  ...patch,
});

export const textInput = (...tokens: string[]): TextInput => ({ modality: "text", tokens, word_ids: null });

export const tabularInput = (patch: Partial<TabularInput> = {}): TabularInput => ({
  modality: "tabular",
  inputs: [],
  features: null,
  values: [],
  texts: null,
  ...patch,
});

export const row = (patch: Partial<Row> = {}): Row => ({
  id: "7",
  label: 1,
  label_name: "dog",
  predicted: 1,
  predicted_name: "dog",
  misclassified: false,
  slices: {},
  input: { error: "no input" },
  maps: [],
  ...patch,
});

/** A page whose blobs all hold these floats. */
export function floatPage(header: Partial<PageHeader>, floats: number[] = []): Page {
  const methods = [method()];
  return {
    header: {
      format_version: 1,
      version: "v1",
      total: header.rows?.length ?? 0,
      offset: 0,
      modality: "image",
      pivot: "methods",
      methods,
      columns: methods.map((m) => ({ key: m.id, title: m.title, method: m })),
      fields: [],
      are_judged: true,
      steps: [],
      targets: null,
      rows: [],
      ...header,
    },
    bytes: () => new Uint8Array(),
    codes: () => new Int8Array(4),
    floats: () => new Float32Array(floats),
  };
}

export const storeInfo = (patch: Partial<StoreInfo> = {}): StoreInfo => ({
  run: "r",
  store: "attributions",
  version: "v1",
  modality: "image",
  target: null,
  created: null,
  examples: 30,
  maps: 30,
  errors: 0,
  complete: true,
  methods: [method()],
  measures: [],
  slices: [],
  ...patch,
});
