"""Examples as the store shows them: a picture as PNG or JPEG, tokens as words, numbers in one row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.batching import token_lengths
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.results import Predictions
from tb_deepexplain.graph.submodel import Submodel
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.modality import ShownInput
from tb_deepexplain.store.columns import Columns
from tb_deepexplain.store.media_types import JPEG, PNG, media_type, without_orientation
from tb_deepexplain.store.png import encode_pngs
from tb_deepexplain.store.records import LARGEST_EXACT, Input, InputPart, ModelInput, model_input, write_number
from tb_deepexplain.store.slice_features import as_extras

MISSING = "missing"  # in the place of a sparse column without a value
_VALUES_TOGETHER = 65536  # that are encoded at once: they stay in the processor's caches
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)  # in the place of infinity


def store_examples(
    examples: Sequence[Example],
    shown: Sequence[ShownInput],
    modality: str,
    inputs: Sequence[ModelInput],
    words: Sequence[Mapping[str, Sequence[str]]],
) -> Columns[Input]:
    """Examples that can be batched as a store holds them. `inputs` are the model's; `words` are those of each text of an example, one
    for each value of a map."""
    pictures = {one.name: _pictures(examples, one) for one in shown if one.modality == "image"}
    if modality == "tabular":
        return Columns.of(Input, [_join_tables(one, shown, [show(one, each) for each in shown]) for one in examples])
    nothing = [None] * len(examples)
    columns: dict[str, list[Any]] = dict.fromkeys((field.name for field in dataclasses.fields(Input)), nothing)
    columns["example_id"], columns["modality"] = [one.id for one in examples], [modality] * len(examples)
    columns["label"] = [one.single_label for one in examples]
    columns["extras"] = [as_extras(one.slices) for one in examples]
    all_shapes = [tuple(one.inputs[spec["name"]].shape for spec in inputs) for one in examples]
    described = {shapes: _describe_inputs(shapes, shown, inputs) for shapes in set(all_shapes)}
    columns["inputs"] = [described[shapes] for shapes in all_shapes]
    if modality == "image":
        columns["image"] = pictures[shown[0].name]
    elif modality == "text":
        columns["tokens"] = [of_example[shown[0].name] for of_example in words]
    else:
        columns["parts"] = [
            [
                show(example, one, of_example.get(one.name), pictures[one.name][i] if one.name in pictures else None)
                for one in shown
            ]
            for i, (example, of_example) in enumerate(zip(examples, words, strict=True))
        ]
    return Columns(Input, columns)


def _describe_inputs(
    shapes: Sequence[tuple[int, ...]], shown: Sequence[ShownInput], inputs: Sequence[ModelInput]
) -> list[ModelInput]:
    """The model's inputs of an example with these shapes."""
    with_one_value = {one.spec.name for one in shown if one.spec and one.is_one_value}
    described: list[ModelInput] = []
    for one, of_input in zip(inputs, shapes, strict=True):
        shape = () if one["name"] in with_one_value else of_input
        described.append({**one, "shape": list(shape), "axes": one["axes"] if shape else []})
    return described


def words_of_texts(
    shown: Sequence[ShownInput],
    inputs: Inputs,
    predictions: Predictions,
    submodels: Sequence[Submodel],
    vocabulary: Mapping[int, str] | None,
    model_words: Mapping[str, Mapping[int, str]],
) -> list[dict[str, list[str]]]:
    """For each example the words of each shown text by its name, one for each value of a map.

    `vocabulary`: by token id, of the largest embedding; the others have segments or positions, say. `model_words`: by the name
    of a text and token id, for all texts without it.
    """
    texts = [one.name for one in shown if one.modality == "text"]
    if not texts:
        return [{} for _ in range(inputs.n)]
    if len(shown) == 1:
        assert predictions.token_ids is not None and predictions.lengths is not None
        rows = [ids[:length] for ids, length in zip(predictions.token_ids, predictions.lengths, strict=True)]
        return [{texts[0]: words(ids, vocabulary or model_words[texts[0]])} for ids in rows]
    looked_up: dict[str, tuple[np.ndarray, int]] = {}
    for submodel in submodels:
        if not set(texts) <= looked_up.keys():
            looked_up |= submodel.looked_up([tf.constant(array) for array in inputs.arrays])
    by_text = dict(model_words)
    if vocabulary is not None:
        by_text[max(texts, key=lambda name: looked_up[name][1])] = vocabulary
    return [{name: words(looked_up[name][0][i], by_text[name]) for name in texts} for i in range(inputs.n)]


def show(
    example: Example, shown: ShownInput, words: Sequence[str] | None = None, picture: bytes | None = None
) -> InputPart:
    """One explained input of an example; `words` are those of a text, one for each value of a map."""
    if shown.modality == "text":
        return InputPart(input=shown.name, modality="text", tokens=words)
    if shown.modality == "image":
        return InputPart(input=shown.name, modality="image", image=picture)
    assert shown.spec
    array = example.inputs[shown.spec.name]
    if shown.spec.is_sparse:
        array = array[~shown.spec.is_missing(array)]
    values, texts = _values(array)
    if shown.is_one_value and len(values) != 1:
        values, texts = [None], [", ".join(map(_write, values, texts)) or MISSING]
    return InputPart(
        input=shown.name, modality="tabular", values=values, texts=texts if any(t is not None for t in texts) else None
    )


def _join_tables(example: Example, shown: Sequence[ShownInput], parts: Sequence[InputPart]) -> Input:
    """An example whose explained inputs are numbers and categories: their values, one input after the other."""
    inputs: list[ModelInput] = []
    for one in shown:
        assert one.spec
        shape = () if one.is_one_value else np.shape(example.inputs[one.spec.name])
        inputs.append(model_input(one.name, one.spec.dtype, shape, "tabular"))
    values = [value for part in parts for value in part.values or ()]
    texts = [text for part in parts for text in part.texts or [None] * len(part.values or ())]
    return Input(
        example.id,
        "tabular",
        values=values,
        texts=texts if any(text is not None for text in texts) else None,
        label=example.single_label,
        inputs=inputs,
        extras=as_extras(example.slices),
    )


def _pictures(examples: Sequence[Example], shown: ShownInput) -> list[bytes]:
    """For each example the encoded picture that was decoded, without EXIF data, or the array as PNG. A model may decode pictures
    itself."""
    assert shown.spec
    name = shown.spec.name
    if examples[0].inputs[name].dtype == object:
        return [_encoded_picture(example.inputs[name].item()) for example in examples]
    pictures = [without_orientation(example.pictures[name]) if example.pictures else b"" for example in examples]
    without = [i for i, picture in enumerate(pictures) if not picture]
    if without:
        arrays = np.stack([examples[i].inputs[name] for i in without])
        for i, encoded in zip(without, encode_arrays(arrays), strict=True):
            pictures[i] = encoded
    return pictures


def _encoded_picture(encoded: bytes) -> bytes:
    """The picture as PNG or JPEG, without EXIF data."""
    if media_type(encoded) in (PNG, JPEG):
        return without_orientation(encoded)
    return encode_png(tf.io.decode_image(encoded, expand_animations=False).numpy())


def _values(array: np.ndarray) -> tuple[list[float | None], list[str | None]]:
    """(numbers, None for texts; texts, None for numbers). A whole number that float32 rounds, such as an id, is a text, too."""
    if array.dtype.kind in "OSU":
        texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel()]
        return [None] * len(texts), list(texts)
    numbers = np.ravel(array)
    digits: list[str | None] = [None] * array.size
    if array.dtype.kind in "iu":
        for i in np.flatnonzero(np.abs(numbers.astype(np.float64)) > LARGEST_EXACT):
            if int(np.float32(numbers[i])) != int(numbers[i]):
                digits[i] = str(numbers[i])
    return numbers.astype(np.float64).tolist(), digits


def _write(value: float | None, text: str | None) -> str:
    return text or "" if value is None or text is not None else write_number(value)


def encode_png(values: np.ndarray) -> bytes:
    """[H, W, C] as PNG, as `encode_arrays` does."""
    return encode_arrays(values[None])[0]


def encode_arrays(arrays: np.ndarray) -> list[bytes]:
    """Each of the arrays `[N, H, W, C]` as PNG. Ranges within 0..1 and 0..255 keep their scale; others are scaled from minimum to
    maximum.

    Numbers of channels that PNG does not have are shown by their mean.
    """
    together = max(1, _VALUES_TOGETHER // max(1, math.prod(arrays.shape[1:])))
    parts = (arrays[start : start + together] for start in range(0, len(arrays), together))
    return [encoded for part in parts for encoded in encode_pngs(_to_bytes(part))]


def _to_bytes(arrays: np.ndarray) -> np.ndarray:
    """`[N, H, W, 1, 3 or 4]` in 0..255."""
    arrays = arrays if arrays.shape[-1] in (1, 3, 4) else arrays.mean(-1, keepdims=True)
    axes = (1, 2, 3)
    low, high = arrays.min(axes).astype(np.float64), arrays.max(axes).astype(np.float64)
    if not np.isfinite([low, high]).all():
        arrays = np.nan_to_num(arrays, posinf=_LARGEST_FLOAT32, neginf=-_LARGEST_FLOAT32)
        low, high = arrays.min(axes).astype(np.float64), arrays.max(axes).astype(np.float64)
    within_one = (low >= 0) & (high <= 1)
    others = ~within_one & ((low < 0) | (high > 255))
    factor = np.where(within_one, 255.0, np.where(others, 255 / np.where(high == low, 1, high - low), 1.0))
    if others.any():
        arrays = arrays.astype(np.float64) - np.where(others, low, 0)[:, None, None, None]
    values = arrays * factor[:, None, None, None]
    return np.round(values, out=values).astype(np.uint8)


def words(token_ids: np.ndarray, vocabulary: Mapping[int, str]) -> list[str]:
    """A word for each token id [T]: from the vocabulary, or the id itself; "" for the padding at the end."""
    length = int(token_lengths(token_ids[None])[0]) if token_ids.size else 0
    return [
        (vocabulary.get(int(token)) or str(token)) if i < length else ""  # "" means padding to readers
        for i, token in enumerate(token_ids)
    ]
