"""Labels: the true classes of examples, in the forms in which people and Keras keep them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np

from tb_deepexplain.attribution.array_likes import as_array, as_numbers, missing, rows_differ, text_of
from tb_deepexplain.errors import InputError


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of N examples, or of the positions of N examples (words of texts, pixels of pictures).

    `array`, by `form`: "class": `[N, ...positions]` int64, one class number each. "classes": `[N, ...positions, K]` bool, any
    number of the K classes each. "value": `[N, ...positions]` or `[N, ...positions, K]` float64, quantities of a regression, or
    the probabilities of the K classes.
    """

    form: Literal["class", "classes", "value"]
    array: np.ndarray


def labels_of_output(labels: Any, output: str | None, outputs: Collection[str]) -> Any:
    """The labels of one output (None: the only one) of those that came beside examples; `outputs` are all of the model.

    InputError if they are of several outputs, or of another one.
    """
    if isinstance(labels, tuple):
        raise InputError("labels of several outputs; give them as a dict by output, or labels of one alone")
    if not isinstance(labels, dict):
        return labels
    if output in labels:
        return labels[output]
    only = next(iter(labels)) if len(labels) == 1 else None
    if only is not None and not (output in outputs and only in outputs):
        return labels[only]
    explained = "and no output is named" if output is None else f"and {output} is explained"
    raise InputError(
        f"labels of {', '.join(map(str, labels))}, {explained}; give them by the name of the output, or labels of one alone"
    )


def read_labels(
    labels: Any,
    count: int,
    *,
    classes: int | None = None,
    positions: int = 0,
    class_names: Sequence[str] | None = None,
    name: str = "labels",
) -> Labels:
    """The labels of `count` examples from any usual form.

    One class each: class numbers (also as 1.0, True or `[N, 1]`), one-hot rows, names of `class_names`. Several classes each:
    rows of 0 and 1, or lists of class numbers or names. Quantities: real numbers. All of these as lists, arrays, tensors or
    columns of a frame.

    `classes`: of the model (2 for a single sigmoid; 1: its output is a quantity; None: unknown, the labels alone tell).
    `positions`: the number of axes of an output between batch and classes. `name`: of the argument, for messages. InputError
    if the labels have none of these forms, if one is missing, or if the model has no such class.
    """
    if classes is None and class_names is not None:
        classes = len(class_names)
    array = as_array(labels, name)
    if not positions and (rows_differ(array) or _are_lists(array, classes)):
        return Labels("classes", _read_lists(list(array), count, classes, class_names, name))
    if (gone := missing(array)).any():
        raise InputError(
            f"{name}: example {np.argwhere(gone)[0][0]} has none (as have {gone.sum()} in all); leave out examples without a label"
        )
    if array.size and all(text_of(v) is not None for v in (array.flat if array.dtype.kind in "SUO" else [0])):
        numbers = [_class_number(v, class_names, name) for v in array.flat]
        array = np.array(numbers, np.int64).reshape(array.shape)
    array = as_numbers(array, name)
    if array.ndim == 0 or len(array) != count or array.ndim - 1 not in (positions, positions + 1):
        axes = ", ".join([str(count), *["position"] * positions])
        raise InputError(
            f"{name}: got shape {array.shape}; expected one for each of {count} examples, [{axes}], or rows of classes, "
            f"[{axes}, {classes or 'classes'}]"
        )
    has_rows = array.ndim - 1 > positions and array.shape[-1] != 1
    if array.ndim - 1 > positions and not has_rows:
        array = array[..., 0]
    return _read_rows(array, classes, name) if has_rows else _read_numbers(array, classes, name)


def _read_numbers(array: np.ndarray, classes: int | None, name: str) -> Labels:
    """From one number each."""
    wrong = array[(array % 1 != 0) | (array < 0) | (array >= (np.inf if classes is None else classes))]
    if classes == 1 or (classes is None and wrong.size):
        return Labels("value", array.astype(np.float64))
    if wrong.size:
        raise InputError(f"{name}: holds {wrong[0]:g}; the model has {classes} classes, numbered from 0")
    return Labels("class", array.astype(np.int64))


def _read_rows(array: np.ndarray, classes: int | None, name: str) -> Labels:
    """From a row of numbers each, one for each class."""
    if classes == 1:
        raise InputError(f"{name}: got rows of {array.shape[-1]}; the model's output is one quantity")
    if classes is not None and array.shape[-1] != classes:
        raise InputError(f"{name}: got rows of {array.shape[-1]}; the model has {classes} classes")
    if not np.isin(array, (0, 1)).all():
        return Labels("value", array.astype(np.float64))
    if (array.sum(-1) == 1).all():
        return Labels("class", array.argmax(-1).astype(np.int64))
    return Labels("classes", array.astype(bool))


def _are_lists(array: np.ndarray, classes: int | None) -> bool:
    """Whether rows `[N, n]` are lists of classes that happen to be equally long: not a number for each class."""
    if array.ndim != 2 or array.shape[1] in (1, classes):
        return False
    if array.dtype.kind in "SUO":
        return all(text_of(v) is not None for v in array.flat)
    return classes is not None and bool((np.diff(np.sort(array, 1)) > 0).all() and (array > 1).any())


def _read_lists(
    lists: list[Any], count: int, classes: int | None, class_names: Sequence[str] | None, name: str
) -> np.ndarray:
    """`[N, K]` from a list of class numbers or names each."""
    if len(lists) != count:
        raise InputError(f"{name}: got {len(lists)} lists; expected one for each of {count} examples")
    if classes is None:
        raise InputError(
            f"{name}: got lists of unequal lengths, but the number of classes is unknown; give rows of 0 and 1"
        )
    several = np.zeros([count, classes], bool)
    for row, of_example in zip(several, lists, strict=True):
        numbers = [v if text_of(v) is None else _class_number(v, class_names, name) for v in np.ravel(of_example)]
        row[_read_numbers(as_numbers(as_array(numbers, name), name), classes, name).array.astype(int)] = True
    return several


def _class_number(value: Any, class_names: Sequence[str] | None, name: str) -> int:
    text = text_of(value) or ""
    if class_names is None:
        raise InputError(f"{name}: got the name {text!r}, but the names of the classes are unknown; give class_names")
    if text not in class_names:
        similar = difflib.get_close_matches(text, class_names, 1)
        known = f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(map(str, class_names[:10]))}"
        raise InputError(f"{name}: no class is named {text!r}; {known}")
    return list(class_names).index(text)
