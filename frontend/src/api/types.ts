// The shapes of the server's answers (docs/http_api.md).

export type Modality = "image" | "text" | "tabular";

/** What the columns of a page are. */
export type Pivot = "methods" | "steps" | "runs" | "targets";

export interface Method {
  id: string;
  title: string;
  family: string;
  signed: boolean;
  sums_to: string | null;
  parameters: Record<string, unknown>;
  reduction: string | null;
}

export interface StoreInfo {
  run: string;
  store: string;
  version: string;
  modality: Modality;
  target: string | null;
  created: string | null;
  examples: number;
  maps: number;
  errors: number;
  complete: boolean;
  methods: Method[];
  measures: { id: string; title: string; better: "higher" | "lower" }[];
  error?: undefined;
}

export interface BrokenStore {
  run: string;
  store: string;
  error: string;
}

export interface Stores {
  logdir: string;
  stores: (StoreInfo | BrokenStore)[];
}

export interface Blob {
  offset: number;
  length: number;
}

export interface Failed {
  error: string;
}

/** One input of the model; its values lie row-major, after those of the inputs before it. */
export interface InputPart {
  name: string;
  shape: number[];
  axes: string[];
}

export interface PictureInput {
  type: "image/png" | "image/jpeg";
  full: [number, number];
  data: Blob;
}

export interface TextInput {
  type: "text";
  tokens: string[];
  word_ids: (number | null)[] | null;
}

export interface TabularInput {
  type: "tabular";
  inputs: InputPart[];
  features: string[] | null;
  values: (number | null)[];
  texts?: (string | null)[] | null;
}

export type Input = PictureInput | TextInput | TabularInput | (Failed & { type?: undefined });

export interface MapFacts {
  target: number | null;
  target_name: string | null;
  score: number | null;
  probability: number | null;
  baseline_score: number | null;
  gap: number | null;
  relative_gap: number | null;
  evaluations: number | null;
  warnings: string[];
  step: number | null;
}

export interface MapScale {
  zero: boolean;
  not_finite: number;
  scale: number;
  quantiles: [number, number, number, number, number];
}

export type Picture = MapFacts &
  MapScale & { shape: [number, number]; full: [number, number]; codes: Blob; error?: undefined };
export type Line = MapFacts & MapScale & { length: number; values: Blob; error?: undefined };
export type StoredMap = Picture | Line | (MapFacts & Failed);

export interface Row {
  id: string;
  label: number | null;
  label_name: string | null;
  predicted: number | null;
  predicted_name: string | null;
  misclassified: boolean;
  input: Input;
  maps: (StoredMap | null)[];
}

export interface Parameterized {
  id: string;
  title: string;
  parameters: Record<string, unknown>;
}

export interface Measure extends Parameterized {
  better: "higher" | "lower";
  axis: string | null;
}

/** A mean with the ends of its 95 % interval; null where there are too few. */
export interface Mean<T = number> {
  n: number;
  mean: T | null;
  low: T | null;
  high: T | null;
}

export interface MeasureMean extends Mean {
  random?: Mean;
  curve?: Mean<(number | null)[]>;
  random_curve?: Mean<(number | null)[]>;
  at?: (number | null)[];
}

/** The ranking of the methods by `tb-deepexplain evaluate`. */
export interface Evaluation {
  advice: string;
  ranked_by: string[];
  methods: {
    id: string;
    mean_rank: number;
    low: number;
    high: number;
    sanity: number | null;
    evaluations: number;
    seconds: number;
  }[];
}

export interface Faithfulness {
  version: string;
  examples: number;
  measured: number | null;
  superpixels: number | null;
  methods: { id: string; title: string }[];
  measures: Measure[];
  /** By method, then by measure. */
  found: Record<string, Record<string, MeasureMean>>;
  evaluation: Evaluation | null;
}

/** A column of maps: a method, a step, a run or a target; or the change from the first to the last. */
export interface Column {
  key: string;
  title: string;
  method: Method;
  change?: boolean;
}

/** How a field is distributed, and the rank in the present order at which each bin begins. */
export interface Facet {
  field: string;
  total: number;
  known: number;
  edges: number[];
  counts: number[];
  starts: number[];
}

export interface Curves {
  at: number[];
  curve: (number | null)[];
  random_curve: (number | null)[];
}

export interface ExampleFacts {
  id: string;
  version: string;
  /** By method, then by measure. */
  curves: Record<string, Record<string, Curves>>;
  maps: Record<string, unknown>[];
  measures: Measure[] | null;
  /** Those of the store; a baseline that is a picture as base64 of a small PNG. */
  methods: { id: string; title: string; parameters: Record<string, unknown>; baseline_picture?: string }[];
  model: { path: string; fingerprint: string } | null;
  created: string | null;
}

interface SummaryHead {
  version: string;
  examples: number;
  methods: { id: string; title: string; signed: boolean }[];
}

export interface Gaps extends SummaryHead {
  /** Of the bins; what is larger than the last is in one bin more. */
  edges: number[];
  found: {
    method: string;
    title: string;
    counts: number[];
    median: number | null;
    p95: number | null;
    known: number;
    unknown: number;
  }[];
}

export interface Agreements extends SummaryHead {
  sampled: number;
  pairs: { a: string; b: string; n: number; spearman: number | null; top: number | null; signs: number | null }[];
}

export interface GlobalSummary extends SummaryHead {
  modality: Modality;
  sampled: number;
  /** Of pictures: `side` × `side` bytes in base64, 255 for the largest. */
  side?: number;
  classes?: { class: number; name: string | null; n: number; maps: Record<string, string> }[];
  /** Of texts: by method, the largest mean first; words that occur at least `least` times. */
  least?: number;
  words?: Record<string, { word: string; n: number; mean: number; error: number }[]>;
  /** Of features: by method, points of [attribution, value]. */
  features?: Record<string, { feature: string; mean: number; points: [number | null, number | null][] }[]>;
}

export interface Summaries {
  faithfulness: Faithfulness;
  gap: Gaps;
  agreement: Agreements;
  global: GlobalSummary;
}

export interface PageHeader {
  format_version: number;
  version: string;
  total: number;
  offset: number;
  modality: Modality;
  pivot: Pivot;
  columns: Column[];
  methods: Method[];
  /** What has a number, and so can be sorted by. */
  fields: string[];
  steps: number[];
  targets: { id: number; name: string | null }[] | null;
  rows: Row[];
}
