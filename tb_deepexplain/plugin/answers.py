"""The JSON that the plugin sends: one type for each answer. openapi.json, and from it the page's types.ts, are generated from here.

A number that is missing or not finite is None. `Annotated` texts become descriptions; an `error` that is `Never` tells a readable
store or map from one with a sentence in its place.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from typing_extensions import Never, NotRequired

Modality = Literal["image", "text", "tabular", "mixed"]
Pivot = Literal["methods", "steps", "targets", "runs"]
Better = Literal["higher", "lower"]
Side = tuple[int, int]


class Method(TypedDict):
    """A method of a store."""

    id: str
    title: str
    family: str | None
    signed: bool
    sums_to: Annotated[str | None, "what the attributions add up to; null where the method promises no sum"]
    parameters: dict[str, Any]
    reduction: Annotated[
        Literal["sum", "max |a|"] | None,
        "how the channels of a picture become one number; null in stores without pictures",
    ]


class MeasureTitle(TypedDict):
    """A measure of a store."""

    id: str
    title: str
    better: Better


class Measure(MeasureTitle):
    """A measure with its axis and parameters."""

    axis: Annotated[str | None, "the x axis of the measure's curve; null where it has no curve"]
    parameters: dict[str, Any]


# /api/stores


class SliceFeature(TypedDict):
    """A named feature of the examples that is stored beside their maps."""

    name: str
    field: Annotated[str, "its name in filter and sort: `slice.NAME` where the page has another field of that name"]
    type: Literal["number", "text"]
    values: Annotated[list[str] | None, "all values of a text, if they are few"]


class StoreInfo(TypedDict):
    """A committed store, as its manifest describes it."""

    run: str
    store: str
    version: Annotated[str, "changes with every commit"]
    modality: Modality
    target: str | None
    created: str | None
    examples: int
    maps: int
    errors: Annotated[int, "examples that could not be explained"]
    complete: Annotated[bool, "false while a training adds steps to the store, and after a training that was killed"]
    measures: list[MeasureTitle]
    methods: list[Method]
    slices: list[SliceFeature]
    error: NotRequired[Never]


class UnreadableStore(TypedDict):
    """A store that a run announces, but that cannot be read."""

    run: str
    store: str
    error: str


class Stores(TypedDict):
    """The stores that TensorBoard's runs announce."""

    logdir: str
    stores: list[StoreInfo | UnreadableStore]


# /api/query and /api/facet


class Columns(TypedDict):
    """Columns of examples. Besides these keys there is one array for each requested column, by its name."""

    version: str
    total: int
    offset: int
    id: list[str]
    label: NotRequired[list[int | None]]
    label_name: NotRequired[list[str | None]]
    predicted: NotRequired[list[int | None]]
    predicted_name: NotRequired[list[str | None]]
    misclassified: NotRequired[list[bool]]
    target: NotRequired[list[int | None]]
    target_name: NotRequired[list[str | None]]


class Facet(TypedDict):
    """The distribution of the sort field over the examples of a query. Bins are of equal width between the 1st and the 99th
    percentile; the first and the last reach to the ends."""

    version: str
    field: str
    total: int
    known: Annotated[int, "examples that have a finite value"]
    edges: list[float]
    counts: list[int]
    starts: Annotated[list[int], "for each bin, the rank of its first example in the order of the query"]


# /api/tiles: the header of the binary answer


class BlobRange(TypedDict):
    """A blob of the answer; `offset` counts from the end of the padded header."""

    offset: int
    length: int


class PictureInput(TypedDict):
    """A picture; the blob is a PNG or JPEG file."""

    modality: Literal["image"]
    media_type: Literal["image/png", "image/jpeg"]
    full: Annotated[Side, "[height, width] as stored"]
    data: BlobRange
    error: NotRequired[Never]


class TextInput(TypedDict):
    """A text; empty tokens are padding."""

    modality: Literal["text"]
    tokens: list[str]
    word_ids: list[int | None] | None
    error: NotRequired[Never]


class InputPart(TypedDict):
    """One input of the model; its values lie row-major, after those of the inputs before it."""

    name: str
    shape: list[int]
    axes: Annotated[list[str], "what each axis is: height, width, channel, time, token, feature or depth"]


class TabularInput(TypedDict):
    """The numbers of one or several inputs of the model."""

    modality: Literal["tabular"]
    inputs: list[InputPart]
    features: Annotated[list[str] | None, "a name for each value; null where values have no names"]
    values: list[float | None]
    texts: Annotated[
        list[str | None] | None,
        "for each value, the text or category that it stands for, or the digits of a whole number that float32 rounds; null for "
        "other numbers",
    ]
    error: NotRequired[Never]


class MixedInputPart(TypedDict):
    """One input of a mixed example."""

    name: str
    input: PictureInput | TextInput | TabularInput


class MixedInput(TypedDict):
    """Several inputs of any kind: those that are explained, in the order of the parts of every map."""

    modality: Literal["mixed"]
    parts: list[MixedInputPart]
    error: NotRequired[Never]


class UnreadableInput(TypedDict):
    """An input whose shard cannot be read."""

    modality: NotRequired[Never]
    error: str


Input = PictureInput | TextInput | TabularInput | MixedInput | UnreadableInput


class MapFacts(TypedDict):
    """The numbers of a map; all null for a column that is a change."""

    target: Annotated[int | None, "the class explained; null where it is not a single class"]
    target_name: str | None
    target_index: Annotated[list[int] | None, "the whole position in the output; null for sums and score functions"]
    score_function: Annotated[str | None, "`sum` for the sum of all units, or the name of a score function"]
    score: float | None
    probability: float | None
    baseline_score: float | None
    gap: float | None
    relative_gap: Annotated[float | None, "|gap| / |score - baseline_score|"]
    evaluations: int | None
    warnings: list[str]
    step: int | None


class MapScale(TypedDict):
    """What a reader needs to know of a map before drawing it; padding is left out."""

    zero: Annotated[bool, "every value is zero"]
    not_finite: Annotated[int, "values that are not finite"]
    scale: Annotated[float, "the largest absolute value sent; codes are multiplied by it"]
    quantiles: Annotated[
        tuple[float, float, float, float, float], "of the absolute values at full size, at 50, 90, 95, 99 and 100 %"
    ]


class PictureCodes(MapScale):
    """One int8 code for each pixel, row by row."""

    shape: Annotated[Side, "[height, width] as sent"]
    full: Annotated[Side, "[height, width] as stored"]
    codes: BlobRange


class Values(MapScale):
    """One float32 for each token or feature."""

    length: int
    values: BlobRange


class PictureMap(MapFacts, PictureCodes):
    """A map of a picture."""

    error: NotRequired[Never]


class ValuesMap(MapFacts, Values):
    """A map of a text or of features."""

    error: NotRequired[Never]


class MapPart(TypedDict):
    """The part of a map that belongs to one input of a mixed example."""

    name: Annotated[str, "of the input"]
    sum: Annotated[float | None, "of the values; null where one is not finite"]
    share: Annotated[
        float | None, "of this part in the sum of absolute values over all parts; null where that is zero or not finite"
    ]
    map: PictureCodes | Values


class MixedMap(MapFacts, MapScale):
    """A map of a mixed example. Its parts have one unit; each has the scale of its own values, and the map that of all."""

    parts: list[MapPart]
    error: NotRequired[Never]


class UnreadableMap(MapFacts):
    """A map whose shard cannot be read."""

    error: str


StoredMap = PictureMap | ValuesMap | MixedMap | UnreadableMap


class Row(TypedDict):
    """An example with its maps, one for each column; null where there is none."""

    id: str
    label: int | None
    label_name: str | None
    predicted: int | None
    predicted_name: str | None
    misclassified: bool
    slices: Annotated[dict[str, float | str | None], "values of the slice features by name, where the example has some"]
    input: Input
    maps: list[StoredMap | None]


class Column(TypedDict):
    """A column of maps: a method, step, target or run, or the change from the first column to the last."""

    key: str
    title: str
    method: Method
    change: NotRequired[bool]


class Target(TypedDict):
    """An output unit that is explained."""

    id: int
    name: str | None


class PageHeader(TypedDict):
    """A page of examples with their maps."""

    format_version: int
    version: str
    total: int
    offset: int
    modality: Modality
    pivot: Pivot
    columns: list[Column]
    methods: list[Method]
    fields: Annotated[list[str], "the fields that have a number, and so can be sorted by"]
    are_judged: Annotated[
        bool, "whether examples have labels and predicted classes: elsewhere none is correct or misclassified"
    ]
    steps: list[int]
    targets: Annotated[list[Target] | None, "null where every map exists for one target only"]
    rows: list[Row]


# /api/example


class Curves(TypedDict):
    """The curve of a map along the axis of a measure, and that of a random map."""

    at: list[float | None]
    curve: list[float | None]
    random_curve: list[float | None]


class ExampleMethod(Method):
    """A method of the store, with its baseline if it takes one."""

    baseline: NotRequired[
        Annotated[
            float | str | list[Any] | dict[str, Any] | None,
            "null for zeros, text for a large array; a list, or an object by name, for several inputs; absent where the method takes none",
        ]
    ]
    baseline_picture: NotRequired[Annotated[str, "a small PNG in base64"]]


class Model(TypedDict):
    """The model that was explained."""

    path: str | None
    fingerprint: str
    signature: NotRequired[str | None]
    output: NotRequired[str | None]


class ExampleFacts(TypedDict):
    """Every number stored about one example, and what made them."""

    id: str
    version: str
    name: str
    modality: Modality
    maps: Annotated[list[dict[str, Any]], "one object for each map: its columns in the index"]
    curves: Annotated[dict[str, dict[str, Curves]], "of the selected maps, by method and measure"]
    methods: list[ExampleMethod]
    measures: list[Measure]
    model: Model | None
    options: dict[str, Any]
    versions: dict[str, str]
    created: str | None


# /api/summary


class Mean(TypedDict):
    """A mean with the ends of its 95 % interval; null where there are too few values."""

    n: int
    mean: float | None
    low: float | None
    high: float | None


class CurveMean(TypedDict):
    """The same, point by point along a curve."""

    n: int
    mean: list[float | None] | None
    low: list[float | None] | None
    high: list[float | None] | None


class MeasureMean(Mean):
    """A measure's mean over examples; the same of random maps; and the mean curves of both."""

    random: NotRequired[Mean]
    curve: NotRequired[CurveMean]
    random_curve: NotRequired[CurveMean]
    at: NotRequired[list[float | None] | None]


class RankedMethod(TypedDict):
    """A method as `tb-deepexplain evaluate` ranks it."""

    id: str
    mean_rank: float | None
    low: float | None
    high: float | None
    sanity: float | None
    evaluations: float
    seconds: float


class Evaluation(TypedDict):
    """The ranking of `tb-deepexplain evaluate`, best method first."""

    advice: str
    ranked_by: Annotated[list[str], "measures"]
    methods: list[RankedMethod]


class SummaryMethod(TypedDict):
    """A method of the store, by name."""

    id: str
    title: str
    signed: bool


class Summary(TypedDict):
    """What every panel of the Summary begins with."""

    version: str
    examples: int
    methods: list[SummaryMethod]


class PrecisionError(TypedDict):
    """How far the maps of a method differ from those in float32, for a sample; differences are shares of a map's largest value."""

    method: str
    title: str
    examples: int
    median: float | None
    worst: float | None
    rank_correlation: float | None


class StorePrecision(TypedDict):
    """In what the maps were computed, where that is not float32."""

    precision: Annotated[str, "`tf32`, `mixed` or `float64`"]
    errors: list[PrecisionError]
    without_tf32: Annotated[int, "examples that were explained on a CPU, where TF32 changes nothing"]


class Faithfulness(Summary):
    """The store's measures of each method."""

    precision: Annotated[StorePrecision | None, "null for float32"]

    measured: Annotated[float | None, "share of the examples that measures were computed for"]
    step: Annotated[int | None, "the step whose maps were measured; null where the store has only one"]
    superpixels: int | None
    measures: list[Measure]
    means: Annotated[dict[str, dict[str, MeasureMean]], "by method and measure"]
    evaluation: Evaluation | None


class GapHistogram(TypedDict):
    """The relative gaps of a method."""

    method: str
    title: str
    counts: Annotated[list[int], "examples in each bin; one more than `edges`' bins, for what is above the last edge"]
    median: float | None
    p95: float | None
    known: int
    unknown: int


class Gaps(Summary):
    """Histograms of relative gaps, for the methods that promise a sum."""

    edges: list[float]
    histograms: list[GapHistogram]


class MethodPair(TypedDict):
    """The agreement of two methods, as means over `n` examples."""

    a: str
    b: str
    n: int
    spearman: Annotated[float | None, "rank correlation of |a|"]
    top: Annotated[float | None, "share of the largest tenth in common"]
    signs: Annotated[float | None, "share of equal signs; null where a method is unsigned"]


class Agreements(Summary):
    """The agreement of every pair of methods on a sample, evenly spread over the examples of the filter."""

    sampled: int
    pairs: list[MethodPair]


ClassMaps = TypedDict(
    "ClassMaps",
    {
        "class": int,
        "name": str | None,
        "n": int,
        "maps": Annotated[dict[str, str], "by method: side × side bytes in base64, 255 for the largest"],
    },
)


class Word(TypedDict):
    """A word's mean attribution and its standard error over `n` occurrences."""

    word: str
    n: int
    mean: float
    error: float


class FeaturePoints(TypedDict):
    """A feature's mean |attribution|, and a point [attribution, value] for each example."""

    feature: str
    mean: float
    points: list[tuple[float | None, float | None]]


class InputShares(TypedDict):
    """An input's mean share of the sum of absolute values."""

    input: str
    mean: float
    n: int


class GlobalSummary(Summary):
    """What matters over a sample of examples; the fields depend on the modality."""

    modality: Modality
    sampled: int
    side: NotRequired[Annotated[int, "pictures: the side of the mean maps"]]
    classes: NotRequired[Annotated[list[ClassMaps], "pictures: mean maps of the predicted classes"]]
    least: NotRequired[Annotated[int, "texts: how often a word occurs at least"]]
    words: NotRequired[Annotated[dict[str, list[Word]], "texts: by method, the largest mean first"]]
    features: NotRequired[Annotated[dict[str, list[FeaturePoints]], "features: by method, the largest mean first"]]
    shares: NotRequired[
        Annotated[dict[str, list[InputShares]], "mixed examples: by method, in the order of the inputs"]
    ]


# The answers of /api/summary by its parameter `panel`; "global" is no name in Python's syntax.
Summaries = TypedDict(
    "Summaries", {"faithfulness": Faithfulness, "gap": Gaps, "agreement": Agreements, "global": GlobalSummary}
)

# The type of further keys: the fields that a request names.
FURTHER_KEYS: dict[Any, Any] = {Columns: list[float | str | None]}

# Unions have no name at run time; in the description they have these.
UNIONS: dict[str, Any] = {"Modality": Modality, "Pivot": Pivot, "Input": Input, "StoredMap": StoredMap}
