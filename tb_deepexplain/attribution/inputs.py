"""Inputs: examples as arrays that are checked once against a model; and results in the caller's structure."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from tb_deepexplain.attribution.batching import at_least_one
from tb_deepexplain.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """N examples of a model, checked; `Explainer.check` makes them, and `xs` may be them everywhere."""

    specs: tuple[Any, ...]  # the InputSpecs against which they were checked
    arrays: list[np.ndarray]  # [N, ...] for each spec, in its dtype; one blank example if N is 0
    n: int
    are_entries: bool  # values of the entry tensors, not of the model's inputs
    structure: Literal["dict", "list", "tuple"]  # of the caller's xs if there are several inputs
    is_bare: bool  # whether xs was the array of the only input
    _all: tuple[Inputs, np.ndarray] | None = dataclasses.field(default=None, repr=False)  # taken from these, these rows
    _seeds: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)

    def take(self, rows: np.ndarray) -> Inputs:
        """These examples."""
        arrays = at_least_one([array[rows] for array in self.arrays])
        return dataclasses.replace(self, arrays=arrays, n=len(rows), _all=(self, rows), _seeds={})

    def seeds(self, seed: int) -> np.ndarray:
        """`[N]` the seed of each example for this seed of the caller."""
        if seed not in self._seeds:
            if self._all and self.n:
                inputs, rows = self._all
                self._seeds[seed] = inputs.seeds(seed)[rows]
            else:
                self._seeds[seed] = example_seeds(self.arrays, seed)
        return self._seeds[seed]

    @cached_property
    def not_finite(self) -> np.ndarray:
        """`[N]` whether an example holds NaN or infinity."""
        if self._all:
            inputs, rows = self._all
            return inputs.not_finite[rows]
        return holds_not_finite(self.arrays)[: self.n]

    @cached_property
    def digest(self) -> str:
        """Equal for equal examples."""
        state = hashlib.blake2b(digest_size=16)
        for array in self.arrays:
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
        return state.hexdigest()

    def restore_structure(self, names: Sequence[str], values: list[np.ndarray]) -> Any:
        """Values of the entry tensors of these names, structured like the caller's xs."""
        if self.structure == "dict":
            return dict(zip(names, values, strict=True))
        if self.is_bare and len(values) == 1:
            return values[0]
        return tuple(values) if self.structure == "tuple" else values


def check_inputs(specs: Sequence[Any], xs: Any, *, ordered: bool = True, are_entries: bool = False) -> Inputs:
    """`xs` as Inputs with these InputSpecs; `ordered`: whether several inputs may be given as a list. Raises InputError."""
    arrays = read_inputs(specs, xs, ordered)
    is_bare = not isinstance(xs, dict) and len(specs) == 1 and not _wraps_one(xs, len(specs[0].shape))
    structure: Literal["dict", "list", "tuple"] = "list"
    if isinstance(xs, dict | tuple):
        structure = "dict" if isinstance(xs, dict) else "tuple"
    return Inputs(tuple(specs), at_least_one(arrays), len(arrays[0]), are_entries, structure, is_bare)


def read_inputs(specs: Sequence[Any], xs: Any, ordered: bool = True) -> list[np.ndarray]:
    """One array `[N, ...]` for each InputSpec, in the model's order and dtypes; `ordered`: whether a list is accepted."""
    takes = f"the model takes {'; '.join(map(str, specs))}"
    names = [spec.name for spec in specs]
    if isinstance(xs, dict):
        if set(xs) != set(names):
            raise InputError(f"xs has the inputs {', '.join(map(str, xs)) or 'none'}; {takes}")
        values = [xs[name] for name in names]
    elif len(specs) > 1 and not ordered:
        raise InputError(f"{takes}, by name: give a dict with one array for each")
    elif len(specs) > 1:
        if not isinstance(xs, list | tuple) or len(xs) != len(specs):
            count = f"{len(xs)} arrays" if isinstance(xs, list | tuple) else "one array"
            raise InputError(f"xs is {count}; {takes}: give a list or a dict with one array for each")
        values = list(xs)
    else:
        values = [xs[0] if _wraps_one(xs, len(specs[0].shape)) else xs]
    arrays = [_read_array(spec, value) for spec, value in zip(specs, values, strict=True)]
    if len({len(a) for a in arrays}) > 1:
        counts = ", ".join(f"{name} {len(a)}" for name, a in zip(names, arrays, strict=True))
        raise InputError(f"xs: every input needs the same number of examples, got {counts}")
    return arrays


def _wraps_one(xs: Any, rank: int) -> bool:
    """Whether xs is a list of one array, not one array written as nested lists."""
    return isinstance(xs, list | tuple) and len(xs) == 1 and np.ndim(xs[0]) == rank


def _read_array(spec: Any, value: Any) -> np.ndarray:
    """The value as an array of the spec's dtype; InputError if values or shape do not fit."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"xs for {spec}: the examples differ in shape ({error}); pad them to one shape") from error
    content = {"string": "string", "bool": "bool"}.get(spec.dtype, "float" if spec.is_float else "int")
    accepted = {"string": "SUO", "bool": "b", "float": "fiub", "int": "iub"}[content]
    if array.dtype.kind not in accepted and array.size:
        raise InputError(f"xs for {spec}: got an array of {array.dtype}, expected {content} values")
    if content == "int" and array.size and array.dtype.kind != "b":
        limits = np.iinfo(spec.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(f"xs for {spec}: holds {array.max()}, which {spec.dtype} cannot hold")
    array = array.astype(object if content == "string" else "float32" if spec.dtype == "bfloat16" else spec.dtype)
    expected = spec.shape
    if content == "string" and (wrong := [v for v in array.ravel() if not isinstance(v, str | bytes)]):
        raise InputError(f"xs for {spec}: holds {wrong[0]!r}; expected strings")
    if len(expected) == 2 and expected[1] == 1 and array.ndim == 1:  # Keras accepts this too
        array = array[:, None]
    if len(expected) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == len(expected) - 1 and fits(array.shape, expected[1:]):
        batched = "[xs]" if content == "string" else "xs[None]"
        raise InputError(
            f"xs for {spec}: got shape {array.shape}, one example without the batch dimension; give {batched}"
        )
    if array.ndim != len(expected) or not fits(array.shape[1:], expected[1:]):
        raise InputError(f"xs for {spec}: got an array of shape {array.shape}, which does not fit")
    return array


def fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether the shape has the expected lengths; None accepts any length."""
    return len(shape) == len(expected) and all(e in (None, s) for s, e in zip(shape, expected, strict=True))


def holds_not_finite(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """`[N]` whether an example's numbers hold NaN or infinity."""
    not_finite = np.zeros(len(arrays[0]), bool)
    for array in arrays:
        with np.errstate(invalid="ignore", over="ignore"):  # one cheap pass clears most arrays
            suspect = array.dtype.kind == "f" and not np.isfinite(array.sum())
        if suspect:
            not_finite |= ~np.isfinite(array).reshape(len(array), -1).all(1)
    return not_finite


def example_seeds(arrays: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """`[N]` int64 from `seed` and an example's content: equal in every batch and position."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError(f"seed={seed!r}: expected a whole number")
    seeds = []
    for i in range(len(arrays[0])):
        digest = hashlib.blake2b(str(int(seed)).encode(), digest_size=8)
        for array in arrays:
            row = array[i]
            digest.update(b"\0".join(map(_encode, np.ravel(row))) if array.dtype == object else row.tobytes())
        seeds.append(int.from_bytes(digest.digest(), "little", signed=True))
    return np.array(seeds, np.int64)


def _encode(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()
