"""Inputs: examples as arrays that are checked once against a model; and results in the caller's structure."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tb_deepexplain.attribution.array_likes import (
    as_array,
    as_numbers,
    column_names,
    is_frame,
    missing,
    rows_differ,
    shape_of,
)
from tb_deepexplain.attribution.batching import at_least_one
from tb_deepexplain.attribution.containers import Unpacked, unpack
from tb_deepexplain.attribution.labels import labels_of_output
from tb_deepexplain.attribution.padding import pad_rows
from tb_deepexplain.attribution.pictures import is_picture, read_pictures
from tb_deepexplain.attribution.shape_advice import advise
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.graph_view import tensor_name
from tb_deepexplain.graph.input_spec import column_width, fits
from tb_deepexplain.user_warnings import warn

if TYPE_CHECKING:
    from tb_deepexplain.graph.model_graph import ModelGraph

_WEIGHTS = "the sample weight is not used: every example is explained by itself"

Note: TypeAlias = tuple[str, np.ndarray]  # a sentence for readers of maps, and the examples that it is about, [N] bool


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """N examples of a model, checked; `Explainer.check` makes them, and `xs` may be them everywhere."""

    specs: tuple[Any, ...]  # the InputSpecs against which they were checked
    arrays: list[np.ndarray]  # [N, ...] for each spec, in its dtype; one blank example if N is 0
    n: int
    are_entries: bool  # values of the entry tensors, not of the model's inputs
    structure: Literal["dict", "list", "tuple"]  # of the caller's xs if there are several inputs
    is_bare: bool  # whether xs was the array of the only input
    labels: Any = None  # what came with them as y
    notes: tuple[Note, ...] = ()  # what was done to them
    columns: tuple[str, ...] | None = None  # of the frame that they were, if it is the only input
    keys: tuple[str, ...] = ()  # of the dict that they were
    _all: tuple[Inputs, np.ndarray] | None = dataclasses.field(default=None, repr=False)  # taken from these, these rows
    _seeds: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)

    def take(self, rows: np.ndarray) -> Inputs:
        """These examples."""
        arrays = at_least_one([array[rows] for array in self.arrays])
        notes = tuple((text, applies[rows]) for text, applies in self.notes)
        return dataclasses.replace(
            self, arrays=arrays, n=len(rows), labels=None, notes=notes, _all=(self, rows), _seeds={}
        )

    def as_specs(self, specs: Sequence[Any]) -> Inputs:
        """The same examples in the dtypes of these specs of the same inputs."""
        arrays = as_dtypes(self.arrays, specs)
        return dataclasses.replace(self, specs=tuple(specs), arrays=arrays, _all=None, _seeds={})

    def seeds(self, seed: int) -> np.ndarray:
        """`[N]` the seed of each example for this seed of the caller."""
        if seed not in self._seeds:
            if self._all and self.n:
                inputs, rows = self._all
                self._seeds[seed] = inputs.seeds(seed)[rows]
            else:
                self._seeds[seed] = example_seeds(self.arrays, seed)
        return self._seeds[seed]

    def labels_of(self, output: str | None, outputs: Collection[str]) -> Any:
        """The labels that came with the examples, of this one of the model's `outputs`; InputError if there are none."""
        if self.labels is None:
            raise InputError(
                "target='label': xs came without labels; give (x, y), a dataset of such pairs, or class numbers"
            )
        try:
            return labels_of_output(self.labels, output, outputs)
        except InputError as error:
            raise InputError(f"target='label': xs came with {error}, as target") from error

    def warn(self) -> None:
        """A UserWarning for each note."""
        for text, applies in self.notes:
            warn(f"{applies.sum()} of {self.n} examples: {text}")

    @cached_property
    def not_finite(self) -> np.ndarray:
        """`[N]` whether an example holds NaN or infinity."""
        if self._all:
            inputs, rows = self._all
            return inputs.not_finite[rows]
        return holds_not_finite(self.specs, self.arrays)[: self.n]

    @cached_property
    def digest(self) -> str:
        """Equal for equal examples."""
        state = hashlib.blake2b(digest_size=16)
        for array in self.arrays:
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
        return state.hexdigest()

    def restore_structure(self, names: Sequence[str], values: list[np.ndarray], has_all: bool) -> Any:
        """Values of the explained inputs of these names, structured like the caller's xs.

        `has_all`: a list has a place for each input of the model; None for one that is not explained.
        """
        by_name: dict[str, Any] = dict(zip(names, values, strict=True))
        if self.structure == "dict":
            return {name: by_name[name] for name in dict.fromkeys((*self.keys, *names)) if name in by_name}
        if self.is_bare and len(values) == 1:
            return values[0]
        inputs = [spec.name for spec in self.specs]
        ordered = [by_name.get(name) for name in inputs] if has_all and set(names) <= set(inputs) else values
        return tuple(ordered) if self.structure == "tuple" else ordered


def check_inputs(graph: ModelGraph, xs: Any, most: int | None = None) -> Inputs:
    """`xs`, in any container that people use, as Inputs of this model; of a dataset or generator only the first `most`.

    Raises InputError.
    """
    return check_unpacked(graph.inputs, unpack_examples(graph, xs, most), graph)


def unpack_examples(graph: ModelGraph, xs: Any, most: int | None = None) -> Unpacked:
    """`unpack` for this model; serialized tf.Examples become values of its inputs."""
    features = None if graph.origin.parse is None else graph.origin.parse(xs)
    return unpack(graph.inputs, xs if features is None else features, most, len(graph.outputs))


def check_unpacked(
    specs: Sequence[Any], unpacked: Unpacked, graph: ModelGraph | None = None, *, are_entries: bool = False
) -> Inputs:
    """What `unpack` returned as Inputs with these InputSpecs. Raises InputError.

    `graph` knows whether several inputs may be given as a list, and which id fills up rows of token ids.
    """
    xs, labels, has_weights = unpacked
    values = _by_input(specs, xs, graph is None or graph.has_ordered_inputs)
    read = {}
    for spec in specs:
        if spec.name in values:  # masks and token types beside the ids are filled up with 0
            holds_ids = len(specs) == 1 or spec.name.endswith("input_ids")
            padding_id = graph.padding_id(tensor_name(spec.node)) if graph and holds_ids else None
            read[spec.name] = read_array(spec, values[spec.name], padding_id or 0)
    counts = {name: len(array) for name, (array, _) in read.items()}
    n = next(iter(counts.values()))
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"xs: every input needs the same number of examples, got {listed}")
    if labels is not None and not isinstance(labels, dict | tuple) and shape_of(labels)[:1] != (n,):
        raise InputError(
            f"xs is a pair (x, y): got {n} examples, and y of shape {shape_of(labels)}; give one label for each example"
        )
    arrays = list[np.ndarray]()
    notes: list[Note] = [(_WEIGHTS, np.ones(n, bool))] if has_weights else []
    for spec in specs:
        if spec.name in read:
            array, of_input = read[spec.name]
            notes += of_input if len(specs) == 1 else [(f"{spec.name}: {text}", rows) for text, rows in of_input]
        else:
            default = np.asarray(spec.default)
            array = np.repeat(default[None], n, 0).astype(_dtype(spec))
            notes.append((f"{spec.name}: not given; the model's default stands for it", np.ones(n, bool)))
        arrays.append(array)
    is_bare = not isinstance(xs, dict) and len(specs) == 1 and not _wraps_one(xs, len(specs[0].shape))
    structure: Literal["dict", "list", "tuple"] = "list"
    if isinstance(xs, dict | tuple):
        structure = "dict" if isinstance(xs, dict) else "tuple"
    columns = column_names(xs) if len(specs) == 1 else None
    return Inputs(
        tuple(specs),
        at_least_one(arrays),
        n,
        are_entries,
        structure,
        is_bare,
        labels=labels,
        notes=tuple(notes),
        columns=columns,
        keys=tuple(xs) if isinstance(xs, dict) else (),
    )


def _by_input(specs: Sequence[Any], xs: Any, ordered: bool) -> dict[str, Any]:
    """The values of each input by name; one with a default may be missing."""
    takes = f"the model takes {'; '.join(map(str, specs))}"
    names = [spec.name for spec in specs]
    if isinstance(xs, dict):
        if any(isinstance(value, dict) for value in xs.values()):
            raise InputError(f"xs is a dict of dicts; {takes}, by these names: give a flat dict")
        lacks = [spec.name for spec in specs if spec.name not in xs and spec.default is None]
        unknown = [str(name) for name in xs if name not in names]
        if lacks or unknown or not xs:
            faults = [f"missing: {', '.join(lacks)}"] * bool(lacks) + [f"unknown: {', '.join(unknown)}"] * bool(unknown)
            raise InputError(
                f"xs has the inputs {', '.join(map(str, xs)) or 'none'}; {takes} ({'; '.join(faults) or 'give one'})"
            )
        return {name: xs[name] for name in names if name in xs}
    if len(specs) > 1 and not ordered:
        raise InputError(f"{takes}, by name: give a dict with one array for each")
    if len(specs) > 1:
        if not isinstance(xs, list | tuple) or len(xs) != len(specs):
            count = f"{len(xs)} arrays" if isinstance(xs, list | tuple) else "one array"
            raise InputError(f"xs is {count}; {takes}: give a list or a dict with one array for each")
        return dict(zip(names, xs, strict=True))
    rank = len(specs[0].shape)
    return {names[0]: xs[0] if _wraps_one(xs, rank) else xs}


def _wraps_one(xs: Any, rank: int) -> bool:
    """Whether xs is a list of one array, not one array written as nested lists."""
    return isinstance(xs, list | tuple) and len(xs) == 1 and len(shape_of(xs[0])) == rank and not is_picture(xs[0])


def read_array(spec: Any, value: Any, padding_id: int = 0) -> tuple[np.ndarray, list[Note]]:
    """The value as an array `[N, ...]` of the spec's dtype, and what was done to its examples.

    InputError if values or shape do not fit.
    """
    name, notes = f"xs for {spec}", list[Note]()
    pictures = [value] if is_picture(value) else value
    if isinstance(pictures, list | tuple) and pictures and all(map(is_picture, pictures)):
        array = read_pictures(spec.shape[1:], pictures, name)
    elif is_frame(value) and spec.dtype != "string":
        columns = [(f"{name}, column {column!r}", value.iloc[:, i]) for i, column in enumerate(value.columns)]
        array = np.stack([as_numbers(as_array(column, title), title) for title, column in columns], 1)
    else:
        array = as_array(value, name)
        if spec.is_sparse:
            array = _fill_up(spec, array, name)
        elif rows_differ(array):
            padding = "" if spec.dtype == "string" else 0 if spec.is_float else padding_id
            array, is_padded = pad_rows(array, spec.shape[1:], padding, name)
            notes.append((f"padded at the end with {padding!r} to the length of the longest example", is_padded))
    converted = _convert(array, spec, name)
    if spec.is_float and converted.size and (rounded := _rounded_integers(array, converted)).any():
        first = np.argwhere(rounded)[0]
        text = f"{spec.dtype} rounds large whole numbers: {array[tuple(first)]} became {converted[tuple(first)]:.0f}"
        notes.append((text, np.asarray(rounded.reshape(len(rounded), -1).any(1))))
    return _fit_shape(converted, spec, name), notes


def _fill_up(spec: Any, array: np.ndarray, name: str) -> np.ndarray:
    """The values of a sparse column `[N, T]` from those of N examples: one each, perhaps missing, or any number."""
    if array.dtype == object and any(isinstance(row, np.ndarray) or row is None for row in array):
        rows = np.empty(len(array), object)
        rows[:] = [
            np.zeros(0) if row is None else row if isinstance(row, np.ndarray) else np.array([row]) for row in array
        ]
        lengths = {len(row) for row in rows if row.ndim == 1}
        if not lengths or any(row.ndim != 1 for row in rows):
            raise InputError(f"{name}: expected one value, or a list of values, for each example")
        filled = np.full((len(rows), column_width(max(lengths))), None, object)
        for target, row in zip(filled, rows, strict=True):
            target[: len(row)] = row
        array = filled
    if array.ndim == 2 and not array.shape[1]:
        array = np.full((len(array), 1), None, object)
    gone = missing(array)
    if not gone.any():
        return array
    if spec.is_float:
        return as_numbers(array, name)
    present = array[~gone]
    if spec.dtype != "string":
        present = as_numbers(present, name)
    converted = np.full(
        array.shape, spec.missing, object if spec.dtype == "string" else np.result_type(present, np.int64)
    )
    converted[~gone] = present
    return converted


def _rounded_integers(array: np.ndarray, converted: np.ndarray) -> np.ndarray:
    """Where a whole number is not exact in the float dtype of `converted`. Bool, like the array."""
    exact = 2.0 ** (np.finfo(converted.dtype).nmant + 1)
    with np.errstate(invalid="ignore"):
        if array.dtype == converted.dtype or not (np.abs(converted) >= exact).any():  # most arrays
            return np.zeros(array.shape, bool)
        if array.dtype.kind in "iu":  # exact, where float64 is not
            is_changed: np.ndarray = array.astype(object) != converted.astype(object)
            return is_changed
        wide = as_numbers(array, "").astype(np.float64)
        return (wide != converted) & (wide % 1 == 0) & (np.abs(wide) < 2.0**53)  # above, every float is whole


def _convert(array: np.ndarray, spec: Any, name: str) -> np.ndarray:
    """The values in the spec's dtype, if nothing is lost; InputError otherwise."""
    if not array.size:
        return np.zeros(array.shape, _dtype(spec))
    if spec.dtype == "string":
        if gone := _describe_missing(array):
            raise InputError(f"{name}: {gone}; expected strings (fill missing values in or leave their examples out)")
        if wrong := [v for v in array.flat if not isinstance(v, str | bytes)]:
            raise InputError(f"{name}: holds {np.asarray(wrong[0]).item()!r}; expected strings (give xs.astype(str))")
        return array.astype(object)
    array = as_numbers(array, name)
    if spec.is_float:
        with np.errstate(over="ignore"):
            converted = array.astype(_dtype(spec))
        if array.dtype != converted.dtype and (lost := array[np.isinf(converted) & ~np.isinf(array)]).size:
            raise InputError(f"{name}: holds {lost.flat[0]}, which {converted.dtype} cannot hold")
        return converted
    if gone := _describe_missing(array):
        raise InputError(f"{name}: {gone}; {spec.dtype} has no missing value: fill them in or leave their examples out")
    low, high = (0, 1) if spec.dtype == "bool" else (np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
    is_beyond = (
        array >= float(high + 1) if array.dtype.kind == "f" else array > high
    )  # a float of `high` may be rounded up
    lost = array[:0] if array.dtype.kind == "b" else array[(array < low) | is_beyond | (array % 1 != 0)]
    if lost.size:
        expected = "True and False, or 0 and 1" if spec.dtype == "bool" else f"whole numbers from {low} to {high}"
        raise InputError(f"{name}: holds {lost.flat[0]}, which {spec.dtype} cannot hold; expected {expected}")
    return array.astype(_dtype(spec))


def _describe_missing(array: np.ndarray) -> str:
    """How many values are missing and where the first is; empty if none is."""
    gone = np.argwhere(missing(array))
    if len(gone) < 2:
        return f"a value is missing, in example {gone[0][0]}" if len(gone) else ""
    return f"{len(gone)} values are missing, the first in example {gone[0][0]}"


def as_dtypes(arrays: Sequence[np.ndarray], specs: Sequence[Any]) -> list[np.ndarray]:
    """The arrays, those of real numbers in the dtypes of these specs."""
    with np.errstate(over="ignore"):
        pairs = zip(arrays, specs, strict=True)
        return [array.astype(_dtype(spec), copy=False) if spec.is_float else array for array, spec in pairs]


def _dtype(spec: Any) -> Any:
    """The NumPy dtype of an input's values."""
    return {"string": object, "bfloat16": np.float32}.get(spec.dtype, spec.dtype)


def _fit_shape(array: np.ndarray, spec: Any, name: str) -> np.ndarray:
    """The array, with or without a last axis of one, like the input; InputError if the shape does not fit."""
    expected = spec.accepted_shape[1:]
    if not array.ndim:
        raise InputError(
            f"{name}: got the single value {array.item()!r:.40}; expected an array with a row for each example: give [xs]"
        )
    if fits(array.shape[1:], expected):
        return array
    is_example = fits(array.shape, expected)
    if spec.is_sparse and array.ndim == 1:
        return array[:, None]
    if (
        expected[-1:] == (1,)
        and fits(array.shape[1:], expected[:-1])
        and array.ndim
        and not (is_example and array.ndim > 1)
    ):
        return array[..., None]  # as Keras does
    if array.ndim > 1 and array.shape[-1] == 1 and fits(array.shape[1:-1], expected):
        return array[..., 0]
    if is_example:
        batched = "[xs]" if spec.dtype == "string" else "xs[None]"
        raise InputError(f"{name}: got shape {array.shape}, one example without the batch dimension; give {batched}")
    raise InputError(
        f"{name}: got an array of shape {array.shape}, which does not fit{advise(array.shape, spec.shape, spec.is_float)}"
    )


def holds_not_finite(specs: Sequence[Any], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """`[N]` whether an example's numbers hold NaN or infinity; NaN in a sparse column is a missing value."""
    not_finite = np.zeros(len(arrays[0]), bool)
    for spec, array in zip(specs, arrays, strict=True):
        if spec.is_sparse:
            continue
        with np.errstate(invalid="ignore", over="ignore"):  # one cheap pass clears most arrays
            suspect = array.dtype.kind == "f" and not np.isfinite(array.sum())
        if suspect:
            not_finite |= ~np.isfinite(array).reshape(len(array), -1).all(1)
    return not_finite


def example_seeds(arrays: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """`[N]` int64 from `seed` and an example's content: equal in every batch and position, and in float32 and float64."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError(f"seed={seed!r}: expected a whole number")
    seeds = []
    for i in range(len(arrays[0])):
        digest = hashlib.blake2b(str(int(seed)).encode(), digest_size=8)
        for array in arrays:
            row = array[i]
            if array.dtype == np.float64:
                with np.errstate(over="ignore"):
                    row = row.astype(np.float32)
            digest.update(b"\0".join(map(_encode, np.ravel(row))) if array.dtype == object else row.tobytes())
        seeds.append(int.from_bytes(digest.digest(), "little", signed=True))
    return np.array(seeds, np.int64)


def _encode(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()
