"""The rows of a store: the columns of its tables, and the records that become rows.

An example is one picture, one text, or any number of numeric inputs (modality image, text, tabular), or it is `mixed`: several
inputs of any kind. A mixed example has `parts` in the inputs table, one for each input that is explained, each with a modality
and the columns of that modality; its own columns of pictures, texts and numbers are null. Each of its maps has `parts`, too: the
same inputs in the same order, with the shape of each input's map. The map itself is one row of values, all values of the first
part before those of the second, each row-major; `split_map` takes it apart. All parts of a map have one unit: their values can
be compared and add up to what the whole map adds up to.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from tb_deepexplain.store.columns import Columns
from tb_deepexplain.store.map_encoding import QUANTILES, encode_maps

FORMAT_VERSION = 2  # of a store; version_1.py converts older ones
LARGEST_EXACT = 2.0**24  # whole numbers up to it are exact as float32
REGION = "region"  # the score function of a class that is summed over the positions where it is predicted

ATTRIBUTION_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("target", pa.int32()),  # the class explained; null if it is not a single class
        pa.field("target_label", pa.string()),
        pa.field("label", pa.int32()),
        pa.field("label_name", pa.string()),
        pa.field("predicted", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("probability", pa.float32()),
        pa.field("baseline_score", pa.float32()),
        pa.field("gap", pa.float32()),
        pa.field("margin", pa.float32()),  # probability of the predicted class less that of the second
        pa.field("loss", pa.float32()),  # −log probability of the label
        pa.field("disagreement", pa.float32()),  # of the maps of the example by several methods
        pa.field("concentration", pa.float32()),  # share of Σ|a| in the largest hundredth of the features
        pa.field("attribution", pa.binary(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("scale", pa.float32(), nullable=False),
        pa.field("shape", pa.list_(pa.int32()), nullable=False),
        *(pa.field(name, pa.float32()) for name in QUANTILES),
        pa.field("evaluations", pa.int32()),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("target_index", pa.list_(pa.int32())),  # the target as a position, such as [3] or [time, 3]
        pa.field(
            "score_function", pa.string()
        ),  # "sum" of all units, REGION, or a function's name; null with target_index
        # One map for each input, one after the other; null if the map is of one input, whose shape is then `shape`.
        pa.field("parts", pa.list_(pa.struct({"input": pa.string(), "shape": pa.list_(pa.int32())}))),
        # Where an example may have several classes: `labels` and `predictions`, their numbers in order, separated by commas, and
        # `outcome`, of the class explained: true or false, positive or negative. Readers may ignore it.
        pa.field("extras", pa.map_(pa.string(), pa.string())),
    ]
)


def measure_fields(measures: Iterable[str]) -> list[pa.Field]:
    """Two columns for each measure: its value, and that of a random map of the same example."""
    names = [name for measure in measures for name in (measure, f"{measure}_random")]
    return [pa.field(name, pa.float32()) for name in names]


def curve_fields(measures: Iterable[str]) -> list[pa.Field]:
    """Three columns for each measure, not in the index: its curve, that of a random map, and the positions of their points."""
    suffixes = ("curve", "random_curve", "at")
    return [pa.field(f"{measure}_{suffix}", pa.list_(pa.float32())) for measure in measures for suffix in suffixes]


_MODEL_INPUT = {
    "name": pa.string(), "dtype": pa.string(), "shape": pa.list_(pa.int32()), "axes": pa.list_(pa.string()),
}  # fmt: skip

# How one kind of input is shown: of an example, or of a part of a mixed example.
_SHOWN_FIELDS = [
    pa.field("image", pa.binary()),
    pa.field("tokens", pa.list_(pa.string())),
    pa.field("word_ids", pa.list_(pa.int32())),
    pa.field("features", pa.list_(pa.string())),  # names of single values, where they have some
    pa.field("values", pa.list_(pa.float32())),
    pa.field(
        "texts", pa.list_(pa.string())
    ),  # of values that are texts or categories, or that float32 rounds; null for others
]

INPUT_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),  # image | text | tabular | mixed
        # Of the model, in the order of the values.
        pa.field("inputs", pa.list_(pa.struct(_MODEL_INPUT)), nullable=False),
        *_SHOWN_FIELDS,
        pa.field("label", pa.int32()),
        # Of a mixed example: the inputs that are explained, in the order of the parts of its maps.
        pa.field(
            "parts",
            pa.list_(pa.struct([pa.field("input", pa.string()), pa.field("modality", pa.string()), *_SHOWN_FIELDS])),
        ),
        # `slice.NAME`: the slice features of slice_features.py as text. Readers may ignore it.
        pa.field("extras", pa.map_(pa.string(), pa.string())),
    ]
)

ERROR_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),  # read | parse | explain | write
        pa.field("error", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)


class ModelInput(TypedDict):
    """One input of a model: for one example, or, in a manifest, for any (unknown sizes are then None)."""

    name: str
    dtype: str
    shape: list[int | None]
    axes: list[str]  # what each axis is: height, width, channel, time, token, feature, depth


class Part(TypedDict):
    """The part of a map that belongs to one input. `shape` is that of the map, which for a text has one value a token."""

    input: str
    shape: list[int]


_AXES = {"image": ("depth", "height", "width", "channel"), "tabular": ("depth", "time", "feature")}


def model_input(name: str, dtype: str, shape: Sequence[int | None], modality: str) -> ModelInput:
    """A model's input, its axes named by the modality and the number of axes. `shape` has no batch axis."""
    rank = len(shape)
    if modality == "text":
        axes = ("token", *["feature"] * (rank - 1))[:rank]
    else:
        known = _AXES[modality]
        axes = (*["depth"] * (rank - len(known)), *known[max(0, len(known) - rank) :])
    return {"name": name, "dtype": dtype, "shape": list(shape), "axes": list(axes)}


def value_names(inputs: Sequence[Mapping[str, Any]], features: Sequence[str] | None) -> list[str]:
    """A name for each value of an example: that of its feature, else `input` or `input[i,j]`."""
    if features:
        return list(features)
    names: list[str] = []
    for one in inputs:
        if math.prod(one["shape"]) == 1:
            names.append(one["name"])
        else:
            names += [f"{one['name']}[{','.join(map(str, index))}]" for index in np.ndindex(*one["shape"])]
    return names


def input_names(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each value of an example the name of its input."""
    return [one["name"] for one in inputs for _ in range(math.prod(one["shape"]))]


def split_map(values: np.ndarray, parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """The map of each input by its name, for a map with `parts`. ValueError if their shapes do not add up to its size."""
    sizes = [math.prod(part["shape"]) for part in parts]
    if sum(sizes) != values.size:
        raise ValueError(f"the map has {values.size} values, but its parts have {sum(sizes)}")
    pieces = np.split(values.reshape(-1), np.cumsum(sizes)[:-1])
    return {part["input"]: piece.reshape(part["shape"]) for part, piece in zip(parts, pieces, strict=True)}


def input_shares(by_input: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """The share of each input in Σ|a| of a map; None for an input that the method cannot explain (its values are NaN), and for all
    if the sum is zero or not finite."""
    sizes = {name: float(np.abs(values).sum(dtype=np.float64)) for name, values in by_input.items()}
    explained = {name for name, values in by_input.items() if not np.isnan(values).all()}
    total = sum(sizes[name] for name in explained)
    has_shares = 0 < total < np.inf
    return {name: size / total if has_shares and name in explained else None for name, size in sizes.items()}


@dataclasses.dataclass(frozen=True)
class Attribution:
    """One map: the attribution of one example by one method for one target at one training step.

    A map with neither `target_index` nor `score_function` explains its `target`, or the sum of all units if it has none.
    """

    example_id: str
    method: str
    values: np.ndarray
    target: int | None = None
    target_label: str | None = None
    label: int | None = None
    label_name: str | None = None
    predicted: int | None = None
    score: float | None = None
    probability: float | None = None
    baseline_score: float | None = None
    gap: float | None = None
    margin: float | None = None
    loss: float | None = None
    disagreement: float | None = None
    evaluations: int | None = None
    step: int = 0
    warnings: Sequence[str] = ()
    measures: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # by the columns of the measures' fields
    target_index: Sequence[int] | None = None
    score_function: str | None = None
    parts: Sequence[Part] | None = None
    extras: Mapping[str, str] | None = None

    def row(self) -> dict[str, Any]:
        """The columns of ATTRIBUTION_SCHEMA and of the measures."""
        return {name: column[0] for name, column in attribution_columns([self]).items()}

    def columns(self) -> dict[str, Any]:
        """The columns of ATTRIBUTION_SCHEMA but those of the map and its statistics."""
        columns = {name: column[0] for name, column in _columns_beside_maps([self]).items()}
        del columns["values"], columns["measures"]
        return columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shown:
    """What a person sees: a picture (PNG or JPEG bytes), tokens (one for each value of a map), or numbers and categories."""

    image: bytes | None = None
    tokens: Sequence[str] | None = None
    word_ids: Sequence[int] | None = None
    features: Sequence[str] | None = None
    values: Sequence[float | None] | None = None
    texts: Sequence[str | None] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputPart(_Shown):
    """One input of a mixed example as a person sees it."""

    input: str
    modality: str  # image | text | tabular


@dataclasses.dataclass(frozen=True)
class Input(_Shown):
    """One example as a person sees it: of one modality, or parts of several."""

    example_id: str
    modality: str
    label: int | None = None
    inputs: Sequence[ModelInput] = ()
    parts: Sequence[InputPart] | None = None
    extras: Mapping[str, str] | None = None

    def row(self) -> dict[str, Any]:
        """The columns of INPUT_SCHEMA."""
        return {name: column[0] for name, column in input_columns([self]).items()}


@dataclasses.dataclass(frozen=True)
class Failure:
    """One example that could not be explained: its id or position, the stage at which it failed, and why."""

    example_id: str
    stage: str
    error: str
    message: str

    def row(self) -> dict[str, Any]:
        """The columns of ERROR_SCHEMA."""
        return {name: column[0] for name, column in failure_columns([self]).items()}


def attribution_columns(attributions: Sequence[Attribution]) -> dict[str, list[Any]]:
    """The columns of ATTRIBUTION_SCHEMA and of the measures, a value for each map."""
    columns = _columns_beside_maps(attributions)
    values, measures = columns.pop("values"), columns.pop("measures")
    names = dict.fromkeys(name for of_map in measures for name in of_map)
    columns |= {name: [of_map.get(name) for of_map in measures] for name in names}
    return columns | encode_maps(values)


def _columns_beside_maps(attributions: Sequence[Attribution]) -> dict[str, list[Any]]:
    """The columns of ATTRIBUTION_SCHEMA but those of the maps and their statistics; `values` and `measures` beside them."""
    columns = dict(Columns.of(Attribution, attributions).values)
    columns["extras"] = list(map(_map_items, columns["extras"]))
    scores, indices = list(columns["score_function"]), list(columns["target_index"])
    for i, (target, score, index) in enumerate(zip(columns["target"], scores, indices, strict=True)):
        if index is None and score is None:
            if target is None:
                scores[i] = "sum"
            else:
                indices[i] = [target]
    return columns | {"score_function": scores, "target_index": indices}


def input_columns(inputs: Sequence[Input]) -> dict[str, list[Any]]:
    """The columns of INPUT_SCHEMA, a value for each example."""
    columns = dict(Columns.of(Input, inputs).values)
    columns["extras"] = list(map(_map_items, columns["extras"]))
    columns["parts"] = [parts and [dataclasses.asdict(part) for part in parts] for parts in columns["parts"]]
    return columns


def failure_columns(failures: Sequence[Failure]) -> dict[str, list[Any]]:
    """The columns of ERROR_SCHEMA, a value for each example."""
    return {name: list(map(printable, texts)) for name, texts in Columns.of(Failure, failures).values.items()}


def _map_items(extras: Mapping[str, str] | None) -> list[tuple[str, str]] | None:
    return None if extras is None else list(extras.items())


def write_number(value: float) -> str:
    """A value of a table as text: whole numbers with all digits."""
    return f"{value:.0f}" if value.is_integer() and abs(value) <= LARGEST_EXACT else f"{value:g}"


def printable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode()
