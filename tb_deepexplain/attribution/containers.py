"""What people hold examples in: datasets, generators, frames, records and pairs (x, y) → arrays by input, and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.array_likes import as_array, is_frame, is_series, package, rows_differ, shape_of
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.input_spec import fits

_MOST_ELEMENTS = 100_000  # of a generator that does not say where it ends
_MOST_BYTES = 4 << 30


class Unpacked(NamedTuple):
    """`xs`: one array-like, or a list, tuple or dict of them by input. `labels`: what came with them as y, or None. `has_weights`:
    whether sample weights came with them, which have no use here."""

    xs: Any
    labels: Any = None
    has_weights: bool = False


def unpack(specs: Sequence[Any], xs: Any, most: int | None = None, outputs: int = 1) -> Unpacked:
    """The examples of any container, for a model with these InputSpecs; of a dataset or generator only the first `most`.

    Datasets and generators are read to their end; they hold examples or batches, of x, (x, y) or (x, y, weights), where x may
    be a dict. A frame becomes a dict of its columns if these are the inputs of the model, and stays a matrix for a model with
    one input. Of a model with several `outputs`, a list of labels for each of them becomes a tuple. InputError for what never ends,
    is empty or cannot be told apart.
    """
    if _is_iterable(xs):
        return _read_elements(specs, xs, most, outputs)
    xs, labels, weights = _split_pair(specs, xs)
    has_weights = weights is not None
    if _is_iterable(xs):
        unpacked = _read_elements(specs, xs, most, outputs)
        return unpacked if labels is None else unpacked._replace(labels=labels, has_weights=has_weights)
    if is_frame(xs) and (len(specs) > 1 or list(xs.columns) == [specs[0].name]):
        if not all(isinstance(column, str) for column in xs.columns):
            raise InputError(
                f"xs is a frame with the columns {list(xs.columns)}; the model takes {'; '.join(map(str, specs))}, by name"
            )
        xs = {column: xs[column] for column in xs.columns}
    elif is_series(xs) and _is_row(specs, xs):
        raise InputError("xs is one row of a frame; give frame.iloc[[i]], which is a frame with one example")
    elif isinstance(xs, list) and xs and all(isinstance(record, dict) for record in xs):
        xs = _join_records(xs)
    if labels is not None:
        labels = _by_output(labels, outputs, shape_of(_first_input(specs, xs)[1])[:1])
    return Unpacked(xs, labels, has_weights)


def _by_output(labels: Any, outputs: int, batch: tuple[int | None, ...]) -> Any:
    """A list of the labels of each output, with these axes in front, as a tuple; other labels unchanged."""
    is_by_output = isinstance(labels, list) and len(labels) == outputs > 1
    return tuple(labels) if is_by_output and all(shape_of(y)[: len(batch)] == batch for y in labels) else labels


def read_baseline(specs: Sequence[Any], baseline: Any) -> Any:
    """A baseline that is a frame of one row, or one row of a frame: its values by input, or as an array; others unchanged.

    ParameterError if the frame has several rows.
    """
    if is_frame(baseline):
        if len(baseline) != 1:
            raise ParameterError(
                f"baseline: got a frame of {len(baseline)} rows; give one row, such as frame.iloc[[0]]"
            )
        baseline = baseline.iloc[0]
    if isinstance(baseline, np.ma.MaskedArray) and np.ma.is_masked(baseline):
        raise ParameterError("baseline: a value is masked, and so missing; give a number for each feature")
    if not is_series(baseline):
        return baseline
    if len(specs) > 1 or list(baseline.index) == [specs[0].name]:
        return {name: as_array([value], f"baseline, column {name!r}")[0] for name, value in baseline.items()}
    return as_array(baseline, "baseline")


def _is_iterable(xs: Any) -> bool:
    """Whether it must be iterated: a dataset, a generator, a loader of batches; not an array-like or a container of them."""
    if isinstance(xs, str | bytes | dict | list | tuple) or not (
        hasattr(xs, "__iter__") or _is_sequence_of_batches(xs)
    ):
        return False
    return not hasattr(xs, "__array__") and package(xs) not in ("pandas", "scipy", "PIL") and not hasattr(xs, "dtype")


def _is_sequence_of_batches(xs: Any) -> bool:
    """Whether it is a PyDataset of Keras 3 or a Sequence of Keras 2: batches by number."""
    return any(
        c.__name__ in ("PyDataset", "Sequence") and c.__module__.startswith(("keras.", "tf_keras."))
        for c in type(xs).__mro__
    )


def _elements(xs: Any, most: int | None) -> Iterator[Any]:
    """The elements of a dataset or generator; InputError if it does not end, unless only `most` examples are needed."""
    if isinstance(xs, tf.data.Dataset):
        if most is None and xs.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise InputError("xs is a dataset that never ends (repeat()?); give dataset.take(n)")
        bounded = xs.cardinality() >= 0
    else:
        bounded = hasattr(xs, "__len__")
    iterable: Iterable[Any] = (xs[i] for i in range(len(xs))) if _is_sequence_of_batches(xs) else xs
    size = 0
    for i, element in enumerate(iterable):
        if not bounded:
            size += sum(map(_bytes_of, tf.nest.flatten(element)))
            if i >= _MOST_ELEMENTS or size > _MOST_BYTES:
                raise InputError(
                    f"xs is a {type(xs).__name__} that has not ended after {i:,} elements; give a part of it, such as "
                    "dataset.take(n) or itertools.islice(generator, n)"
                )
        yield element


def _bytes_of(leaf: Any) -> int:
    dtype = getattr(leaf, "dtype", None)
    size = getattr(dtype, "itemsize", None) or getattr(dtype, "size", 8)  # of NumPy, of TensorFlow
    return math.prod(n or 0 for n in getattr(leaf, "shape", ())) * size


def _read_elements(specs: Sequence[Any], xs: Any, most: int | None, outputs: int) -> Unpacked:
    parts, count, are_batches = list[tuple[Any, Any, Any]](), 0, False
    for element in _elements(xs, most):
        parts.append(_split_element(specs, element))
        x = parts[-1][0]
        are_batches = _is_batch(specs, x) if count == 0 else are_batches
        batch = shape_of(_first_input(specs, x)[1])[:1] if are_batches else ()
        parts[-1] = (x, _by_output(parts[-1][1], outputs, batch), parts[-1][2])
        count += batch[0] if are_batches else 1
        if most is not None and count >= most:
            break
    if not parts:
        raise InputError(
            f"xs is a {type(xs).__name__} without elements; one that was read before, as a generator can be only once, must be made anew"
        )
    x_parts, y_parts, weights = zip(*parts, strict=True)
    if 0 < sum(y is None for y in y_parts) < len(y_parts):
        raise InputError("xs: some elements of the dataset are pairs (x, y), others are x alone")
    labels = None if y_parts[0] is None else _join(y_parts, are_batches, most, "labels")
    joined = _join(x_parts, are_batches, most, "xs", several=len(specs) > 1)
    return Unpacked(joined, labels, any(w is not None for w in weights))


def _join(parts: Sequence[Any], are_batches: bool, most: int | None, name: str, *, several: bool = False) -> Any:
    """The parts of a dataset as one array-like, or a dict or tuple of them; `several`: a list is one of inputs."""
    structures = {
        frozenset(part) if isinstance(part, dict) else isinstance(part, tuple) and len(part) for part in parts
    }
    if len(structures) > 1:
        raise InputError(
            f"{name}: the elements of the dataset differ in structure, such as {parts[0]!r:.60} and {parts[-1]!r:.60}"
        )
    if isinstance(parts[0], dict):
        return {key: _join([part[key] for part in parts], are_batches, most, f"{name} {key}") for key in parts[0]}
    if isinstance(parts[0], tuple) or (several and isinstance(parts[0], list)):
        return tuple(_join(part, are_batches, most, name) for part in zip(*parts, strict=True))
    if not are_batches or any(isinstance(part, list | tuple) for part in parts):
        rows = [row for part in parts for row in part] if are_batches else list(parts)
        return rows[:most]
    arrays = [as_array(part, name) for part in parts]
    if len({array.shape[1:] for array in arrays}) == 1 and not any(map(rows_differ, arrays)):
        return np.concatenate(arrays)[:most]
    return [row for array in arrays for row in array][:most]


def _split_element(specs: Sequence[Any], element: Any) -> tuple[Any, Any, Any]:
    """(x, y, weights) of an element, as Keras' `fit` takes it; a tuple of the inputs of a model with several is x."""
    if isinstance(element, list) and _looks_like_pair(specs, element):
        raise InputError(
            f"the elements of xs are lists of {_arrays(element)}, as PyTorch's DataLoader yields them; this looks like (examples, "
            "labels): give ((x, y) for x, y in loader), or the examples alone"
        )
    if not isinstance(element, tuple):
        return element, None, None
    are_inputs = 1 < len(specs) == len(element) and not isinstance(element[0], dict | list | tuple)
    if are_inputs or len(element) > 3:
        return element, None, None
    x, y, weights = (*element, None, None)[:3]
    return x, y, weights


def _split_pair(specs: Sequence[Any], xs: Any) -> tuple[Any, Any, Any]:
    """(x, y, weights) if xs is a tuple (x, y) or (x, y, weights) beyond doubt, else (xs, None, None)."""
    if isinstance(xs, list) and _looks_like_pair(specs, xs):
        raise InputError(
            f"xs is a list of {_arrays(xs)}, which are as many inputs; the model takes {'; '.join(map(str, specs))}, and this looks "
            "like (examples, labels): give the tuple (x, y), or x alone"
        )
    if not isinstance(xs, tuple) or len(xs) not in (2, 3):
        return xs, None, None
    if all(isinstance(part, tuple) and len(part) == 2 and _holds_batch(specs, part[0]) for part in xs):
        raise InputError(
            "xs is a tuple of pairs (x, y), as keras.datasets returns them; give one of them, such as (x_test, y_test)"
        )
    are_inputs = len(specs) == len(xs) and all(map(_fits_rank, specs, xs))
    if are_inputs or not (_is_iterable(xs[0]) or _holds_batch(specs, xs[0])):
        return xs, None, None
    x, y, weights = (*xs, None)[:3]
    return x, y, weights


def _looks_like_pair(specs: Sequence[Any], xs: list[Any]) -> bool:
    """Whether a list holds examples of these inputs (or one example), with as many labels, and not the examples one by one."""
    if len(xs) not in (2, 3):
        return False
    x, *others = xs
    if len(specs) == 1:
        shape, rank = shape_of(x), len(specs[0].shape)
        if 0 < len(shape) == rank - 1 and not _is_batch(specs, x):
            return all(shape_of(other) == () for other in others)
        if len(shape) > rank:
            return False
    if not _holds_batch(specs, x):
        return False
    batch = shape_of(_first_input(specs, x)[1])[:1]
    return all(shape_of(other)[:1] == batch for other in others)


def _arrays(xs: Sequence[Any]) -> str:
    return "two arrays" if len(xs) == 2 else "three arrays"


def _holds_batch(specs: Sequence[Any], x: Any) -> bool:
    """Whether x is a batch for these inputs, judged by structure and ranks."""
    if len(specs) == 1 or isinstance(x, dict) or is_frame(x):
        return _is_batch(specs, x)
    return isinstance(x, list | tuple) and len(x) == len(specs) and all(map(_fits_rank, specs, x))


def _fits_rank(spec: Any, x: Any) -> bool:
    return len(shape_of(x)) == len(spec.shape)


def _is_batch(specs: Sequence[Any], x: Any) -> bool:
    """Whether x is a batch and not one example."""
    spec, value = _first_input(specs, x)
    shape, rank = shape_of(value), len(spec.shape)
    if shape and len(shape) == rank - 1 and spec.shape[-1] == 1:  # Keras adds a last axis of one
        return shape[-1] != 1
    return len(shape) >= rank


def _first_input(specs: Sequence[Any], x: Any) -> tuple[Any, Any]:
    """An input and its values in x."""
    if isinstance(x, dict):
        spec = next((spec for spec in specs if spec.name in x), None)
        if spec is None:
            raise InputError(
                f"xs has the inputs {', '.join(map(str, x))}; the model takes {'; '.join(map(str, specs))}"
            )
        return spec, x[spec.name]
    return specs[0], x[0] if len(specs) > 1 and isinstance(x, list | tuple) and x else x


def _is_row(specs: Sequence[Any], series: Any) -> bool:
    """Whether a Series holds one example, as `frame.iloc[i]` does."""
    if len(specs) > 1:
        return bool({spec.name for spec in specs} & set(series.index))
    return specs[0].shape[1:] != (1,) and fits(shape_of(series), specs[0].shape[1:])


def _join_records(records: list[dict[Any, Any]]) -> dict[Any, list[Any]]:
    """A list of values for each key of the records; InputError if they differ in their keys."""
    for i, record in enumerate(records):
        if set(record) != set(records[0]):
            differing = ", ".join(map(str, sorted(set(record) ^ set(records[0]), key=str)))
            raise InputError(
                f"xs is a list of dicts, but the first and number {i} differ in {differing}; give every one the same keys"
            )
    return {key: [record[key] for record in records] for key in records[0]}
