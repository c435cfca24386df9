"""The attribution record: what one row of the store holds, and how a map becomes bytes and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

QUANTILES = {"q50": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99, "q100": 1.0}

ATTRIBUTION_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("target", pa.int32()),  # null: the sum over all target units
        pa.field("target_label", pa.string()),
        pa.field("label", pa.int32()),
        pa.field("label_name", pa.string()),
        pa.field("predicted", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("probability", pa.float32()),
        pa.field("baseline_score", pa.float32()),
        pa.field("gap", pa.float32()),
        pa.field("margin", pa.float32()),  # probability of the class predicted less that of the next
        pa.field("loss", pa.float32()),  # −log probability of the label
        pa.field("disagreement", pa.float32()),  # of the example's maps by several methods
        pa.field("concentration", pa.float32()),  # share of Σ|a| that the largest hundredth of the features has
        pa.field("attribution", pa.binary(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("scale", pa.float32(), nullable=False),
        pa.field("shape", pa.list_(pa.int32()), nullable=False),
        *(pa.field(name, pa.float32()) for name in QUANTILES),
        pa.field("evaluations", pa.int32()),
        pa.field("warnings", pa.list_(pa.string())),
    ]
)


def measure_fields(measures: Iterable[str]) -> list[pa.Field]:
    """The columns of measures: of each its value, and that of a random map of the example."""
    names = [name for measure in measures for name in (measure, f"{measure}_random")]
    return [pa.field(name, pa.float32()) for name in names]


def curve_fields(measures: Iterable[str]) -> list[pa.Field]:
    """Of each measure its curve, that of a random map, and where on the axis their points lie; not in the index."""
    ends = ("curve", "random_curve", "at")
    return [pa.field(f"{measure}_{end}", pa.list_(pa.float32())) for measure in measures for end in ends]


INPUT_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # image | text | tabular
        pa.field("image", pa.binary()),
        pa.field("tokens", pa.list_(pa.string())),
        pa.field("word_ids", pa.list_(pa.int32())),
        pa.field("features", pa.list_(pa.string())),
        pa.field("values", pa.list_(pa.float32())),
        pa.field("label", pa.int32()),
    ]
)

ERROR_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),  # read | parse | explain
        pa.field("error", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)


@dataclasses.dataclass(frozen=True)
class Attribution:
    """One map: the attribution of one example by one method for one target at one training step."""

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

    def row(self, dtype: str | None = None) -> dict[str, Any]:
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("values", "measures")}
        return {**row, **encode_map(self.values, dtype), **self.measures}


@dataclasses.dataclass(frozen=True)
class Input:
    """One example as a person sees it: a picture (PNG or JPEG bytes), tokens, or named numbers."""

    example_id: str
    kind: str
    image: bytes | None = None
    tokens: Sequence[str] | None = None
    word_ids: Sequence[int] | None = None
    features: Sequence[str] | None = None
    values: Sequence[float] | None = None
    label: int | None = None

    def row(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True)
class Failure:
    """One example that could not be explained: where it is, at which stage it failed, and why."""

    example_id: str
    stage: str
    error: str
    message: str

    def row(self) -> dict[str, Any]:
        return {name: printable(text) for name, text in dataclasses.asdict(self).items()}


def printable(text: str) -> str:
    """The text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def encode_map(values: np.ndarray, dtype: str | None = None) -> dict[str, Any]:
    """The map's columns: bytes, dtype, scale, shape, quantiles of |a|, and how much of it few features have.

    Maps are float16 of `values / scale` with scale = max |a|, which keeps 11 bits of every value above
    2^-14 of the largest. A map whose median magnitude lies below that is kept as float32.
    """
    values = np.asarray(values)
    sizes = np.abs(values.ravel().astype(np.float64))
    sizes = np.sort(sizes if np.isfinite(values).all() else sizes[np.isfinite(sizes)])
    largest = float(sizes[-1]) if sizes.size else 0.0
    if dtype is None:
        nonzero = sizes[np.searchsorted(sizes, 0, "right") :]
        middle = (nonzero[(nonzero.size - 1) // 2] + nonzero[nonzero.size // 2]) / 2 if nonzero.size else largest
        dtype = "float32" if middle < largest * 2.0**-14 else "float16"
    # The scale is stored as float32: divide by what the reader will multiply by.
    scale = np.float32(largest) if dtype == "float16" and np.float32(largest) > 0 else np.float32(1)
    data = (values.astype(np.float64) / float(scale)).astype(np.dtype(dtype).newbyteorder("<"))
    return {
        "attribution": data.tobytes(),
        "dtype": dtype,
        "scale": float(scale),
        "shape": list(values.shape),
        "concentration": _concentration(sizes),
        **dict(zip(QUANTILES, _quantiles(sizes), strict=True)),
    }


def _concentration(ordered: np.ndarray) -> float | None:
    """The share of their sum that the largest hundredth of them, at least one, has; None of zeros."""
    total = float(ordered.sum())
    return float(ordered[-max(1, round(ordered.size / 100)) :].sum()) / total if total > 0 else None


def _quantiles(ordered: np.ndarray) -> list[float | None]:
    """Those of QUANTILES, as np.quantile has them, which sorts anew; None of nothing."""
    if not ordered.size:
        return [None] * len(QUANTILES)
    place = np.array(list(QUANTILES.values())) * (ordered.size - 1)
    low = place.astype(np.int64)
    high = np.minimum(low + 1, ordered.size - 1)
    found: list[float | None] = (ordered[low] + (ordered[high] - ordered[low]) * (place - low)).tolist()
    return found


def decode_map(attribution: bytes, dtype: str, scale: float, shape: Sequence[int]) -> np.ndarray:
    """The float32 map that `encode_map` stored."""
    data = np.frombuffer(attribution, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    return data.astype(np.float32) * np.float32(scale)
