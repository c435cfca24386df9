"""What a caller hands in, checked and put in order: examples, targets, weights; and results in the caller's structure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.errors import InputError

LARGEST_BATCH = 2**20  # beyond it, counts of what there is to do would not fit into 32 bits


def read_inputs(specs: Sequence[Any], xs: Any, ordered: bool = True) -> list[np.ndarray]:
    """One array `[N, ...]` for each InputSpec, in the model's order and dtypes; `ordered`: whether a list may be given."""
    wanted = f"the model takes {'; '.join(map(str, specs))}"
    names = [spec.name for spec in specs]
    if isinstance(xs, dict):
        if set(xs) != set(names):
            raise InputError(f"xs has the inputs {', '.join(map(str, xs)) or 'none'}; {wanted}")
        given = [xs[name] for name in names]
    elif len(specs) > 1 and not ordered:
        raise InputError(f"{wanted}, by name: give a dict with one array for each")
    elif len(specs) > 1:
        if not isinstance(xs, list | tuple) or len(xs) != len(specs):
            count = f"{len(xs)} arrays" if isinstance(xs, list | tuple) else "one array"
            raise InputError(f"xs is {count}; {wanted}: give a list or a dict with one array for each")
        given = list(xs)
    else:
        given = [xs[0] if _wraps_one(xs, len(specs[0].shape)) else xs]
    arrays = [_read(spec, array) for spec, array in zip(specs, given, strict=True)]
    if len({len(a) for a in arrays}) > 1:
        counts = ", ".join(f"{name} {len(a)}" for name, a in zip(names, arrays, strict=True))
        raise InputError(f"xs: every input needs the same number of examples, got {counts}")
    return arrays


def _wraps_one(xs: Any, rank: int) -> bool:
    """Whether xs is a list of one array, and not one array written as nested lists."""
    return isinstance(xs, list | tuple) and len(xs) == 1 and np.ndim(xs[0]) == rank


def _read(spec: Any, given: Any) -> np.ndarray:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InputError(f"xs for {spec}: the examples differ in shape ({error}); pad them to one shape") from error
    kind = {"string": "string", "bool": "bool"}.get(spec.dtype, "float" if spec.is_float else "int")
    accepted = {"string": "SUO", "bool": "b", "float": "fiub", "int": "iub"}[kind]
    if array.dtype.kind not in accepted and array.size:
        raise InputError(f"xs for {spec}: got an array of {array.dtype}, expected {kind} values")
    if kind == "int" and array.size and array.dtype.kind != "b":
        limits = np.iinfo(spec.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(f"xs for {spec}: holds {array.max()}, which {spec.dtype} cannot hold")
    array = array.astype(object if kind == "string" else "float32" if spec.dtype == "bfloat16" else spec.dtype)
    expected = spec.shape
    if kind == "string" and (wrong := [v for v in array.ravel() if not isinstance(v, str | bytes)]):
        raise InputError(f"xs for {spec}: holds {wrong[0]!r}; expected strings")
    if len(expected) == 2 and expected[1] == 1 and array.ndim == 1:  # as Keras takes it
        array = array[:, None]
    if len(expected) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == len(expected) - 1 and _fits(array.shape, expected[1:]):
        give = "[xs]" if kind == "string" else "xs[None]"
        raise InputError(
            f"xs for {spec}: got shape {array.shape}, one example without the batch dimension; give {give}"
        )
    if array.ndim != len(expected) or not _fits(array.shape[1:], expected[1:]):
        raise InputError(f"xs for {spec}: got an array of shape {array.shape}, which does not fit")
    return array


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(e in (None, s) for s, e in zip(shape, expected, strict=True))


def check_batch_size(size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"batch_size={size!r}: expected a whole number of at least 1, or None")
    return min(int(size), LARGEST_BATCH)


def check_target(target: Any, n: int | None, output: tuple[int | None, ...] | None = None) -> Any:
    """`[N]` class numbers; with `output`, the shape of the model's output, also whether it has these classes."""
    if target is None:
        return None
    classes = np.asarray(target)
    if classes.dtype.kind not in "iu":
        hint = "; weights of the units go to ys" if classes.ndim > 1 else ""
        raise InputError(f"target: expected class numbers, got {classes.dtype}{hint}")
    if n is not None:
        if classes.shape not in ((), (n,)):
            raise InputError(
                f"target: got shape {classes.shape}; expected one class number, or {n} of them, one for each example"
            )
        classes = np.broadcast_to(classes, (n,)).astype(np.int64)
    if output is not None and classes.size:
        units = 1 if len(output) == 1 else output[-1]
        if classes.min() < 0 or (units is not None and classes.max() >= units):
            wrong = classes.min() if classes.min() < 0 else classes.max()
            raise InputError(f"target={wrong}: the output has {units} units, numbered from 0")
    return classes


def check_ys(ys: Any, n: int | None, output: tuple[int | None, ...] | None = None) -> Any:
    """Weights `[N, ...]` like the output; with `output`, its shape, also whether they fit it."""
    if ys is None:
        return None
    weights = np.asarray(ys)
    if weights.dtype.kind not in "fiub":
        raise InputError(f"ys: expected numbers, got {weights.dtype}")
    if n is not None and (weights.ndim == 0 or len(weights) != n):
        raise InputError(f"ys: got shape {weights.shape}; expected {n} rows, one for each example")
    if output is not None and not _fits(weights.shape[1:], output[1:]):
        raise InputError(
            f"ys: got weights of shape {weights.shape[1:]} for each example; the output has shape {output[1:]}"
        )
    return weights.astype(np.float64)


def not_finite(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """`[N]` whether an example's numbers hold NaN or infinity."""
    found = np.zeros(len(arrays[0]), bool)
    for array in arrays:
        with np.errstate(invalid="ignore", over="ignore"):  # one cheap pass says of most that all is well
            suspect = array.dtype.kind == "f" and not np.isfinite(array.sum())
        if suspect:
            found |= ~np.isfinite(array).reshape(len(array), -1).all(1)
    return found


def seeds(arrays: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """`[N]` int64, made of `seed` and what an example holds: the same wherever and in whatever company it is explained."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError(f"seed={seed!r}: expected a whole number")
    found = []
    for i in range(len(arrays[0])):
        digest = hashlib.blake2b(str(int(seed)).encode(), digest_size=8)
        for array in arrays:
            row = array[i]
            digest.update(b"\0".join(map(_encoded, np.ravel(row))) if array.dtype == object else row.tobytes())
        found.append(int.from_bytes(digest.digest(), "little", signed=True))
    return np.array(found, np.int64)


def _encoded(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def same_structure(specs: Sequence[Any], xs: Any, names: Sequence[str], values: list[np.ndarray]) -> Any:
    """The explained tensors' values as the caller gave his inputs: dict by name, list, tuple or a bare array."""
    if isinstance(xs, dict):
        return dict(zip(names, values, strict=True))
    if len(values) > 1 or len(specs) > 1 or _wraps_one(xs, len(specs[0].shape)):
        return tuple(values) if isinstance(xs, tuple) else values
    return values[0]
