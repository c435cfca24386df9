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
  measures: MeasureTitle[];
  error?: undefined;
}

export interface UnreadableStore {
  run: string;
  store: string;
  error: string;
}

export interface Stores {
  logdir: string;
  stores: (StoreInfo | UnreadableStore)[];
}

export interface BlobRange {
  offset: number;
  length: number;
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
  data: BlobRange;
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

/** An input whose shard cannot be read. */
export interface UnreadableInput {
  type?: undefined;
  error: string;
}

export type Input = PictureInput | TextInput | TabularInput | UnreadableInput;

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

export interface PictureMap extends MapFacts, MapScale {
  shape: [number, number];
  full: [number, number];
  codes: BlobRange;
  error?: undefined;
}

export interface ValuesMap extends MapFacts, MapScale {
  length: number;
  values: BlobRange;
  error?: undefined;
}

export interface UnreadableMap extends MapFacts {
  error: string;
}

export type StoredMap = PictureMap | ValuesMap | UnreadableMap;

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

export interface MeasureTitle {
  id: string;
  title: string;
  better: "higher" | "lower";
}

export interface Measure extends MeasureTitle {
  parameters: Record<string, unknown>;
  axis: string | null;
}

/** A mean with the ends of its 95 % interval; null where there are too few. */
export interface Mean {
  n: number;
  mean: number | null;
  low: number | null;
  high: number | null;
}

/** The same, point by point along a curve. */
export interface CurveMean {
  n: number;
  mean: (number | null)[] | null;
  low: (number | null)[] | null;
  high: (number | null)[] | null;
}

export interface MeasureMean extends Mean {
  random?: Mean;
  curve?: CurveMean;
  random_curve?: CurveMean;
  at?: (number | null)[] | null;
}

/** The ranking of the methods by `tb-deepexplain evaluate`. */
export interface Evaluation {
  advice: string;
  ranked_by: string[];
  methods: RankedMethod[];
}

export interface RankedMethod {
  id: string;
  mean_rank: number | null;
  low: number | null;
  high: number | null;
  sanity: number | null;
  evaluations: number;
  seconds: number;
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
  at: (number | null)[];
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

interface Summary {
  version: string;
  examples: number;
  methods: SummaryMethod[];
}

export interface SummaryMethod {
  id: string;
  title: string;
  signed: boolean;
}

export interface Gaps extends Summary {
  /** Of the bins; what is larger than the last is in one bin more. */
  edges: number[];
  found: GapDistribution[];
}

export interface GapDistribution {
  method: string;
  title: string;
  counts: number[];
  median: number | null;
  p95: number | null;
  known: number;
  unknown: number;
}

export interface Agreements extends Summary {
  sampled: number;
  pairs: MethodPair[];
}

export interface MethodPair {
  a: string;
  b: string;
  n: number;
  spearman: number | null;
  top: number | null;
  signs: number | null;
}

export interface GlobalSummary extends Summary {
  modality: Modality;
  sampled: number;
  /** Of pictures: `side` × `side` bytes in base64, 255 for the largest. */
  side?: number;
  classes?: { class: number; name: string | null; n: number; maps: Record<string, string> }[];
  /** Of texts: by method, the largest mean first; words that occur at least `least` times. */
  least?: number;
  words?: Record<string, { word: string; n: number; mean: number; error: number }[]>;
  /** Of features: by method, points of [attribution, value]. */
  features?: Record<string, FeaturePoints[]>;
}

export interface FeaturePoints {
  feature: string;
  mean: number;
  points: [number | null, number | null][];
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
