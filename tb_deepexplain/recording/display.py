"""Examples as the store shows them: a picture as PNG or JPEG, tokens as words, numbers in one row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.batching import token_lengths
from tb_deepexplain.recording.example import Example
from tb_deepexplain.store.media_types import without_orientation
from tb_deepexplain.store.records import Input, ModelInput

_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)  # in the place of infinity


def picture(example: Example, inputs: Sequence[ModelInput]) -> Input:
    """The encoded picture that was decoded, without EXIF data, or the array of the only input as PNG."""
    encoded = without_orientation(example.picture or b"") or encode_png(example.inputs[inputs[0]["name"]])
    return Input(example.id, "image", image=encoded, label=example.single_label, inputs=inputs)


def text(example: Example, tokens: Sequence[str], inputs: Sequence[ModelInput]) -> Input:
    """The tokens, one for each value of a map."""
    return Input(example.id, "text", tokens=tokens, label=example.single_label, inputs=inputs)


def numbers(example: Example, inputs: Sequence[ModelInput]) -> Input:
    """The values of all inputs, one input after the other."""
    values = [value for one in inputs for value in np.ravel(example.inputs[one["name"]]).tolist()]
    return Input(example.id, "tabular", values=values, label=example.single_label, inputs=inputs)


def encode_png(values: np.ndarray) -> bytes:
    """[H, W, C] as PNG. Ranges within 0..1 and 0..255 keep their scale; others are scaled from minimum to maximum.

    Numbers of channels that PNG does not have are shown by their mean.
    """
    values = values if values.shape[-1] in (1, 3, 4) else values.mean(-1, keepdims=True)
    values = values.astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        values = np.nan_to_num(values, posinf=_LARGEST_FLOAT32, neginf=-_LARGEST_FLOAT32)
        low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values = values * 255
    elif low < 0 or high > 255:
        values = (values - low) * (255 / ((high - low) or 1))
    encoded: bytes = tf.io.encode_png(np.round(values).astype(np.uint8)).numpy()
    return encoded


def words(token_ids: np.ndarray, vocabulary: Sequence[str] | None) -> list[str]:
    """A word for each token id [T]: from the vocabulary, or the id itself; "" for the padding at the end."""
    length = int(token_lengths(token_ids[None])[0]) if token_ids.size else 0
    return [_word(int(token), vocabulary) if i < length else "" for i, token in enumerate(token_ids)]


def _word(token: int, vocabulary: Sequence[str] | None) -> str:
    word = vocabulary[token] if vocabulary is not None and 0 <= token < len(vocabulary) else ""
    return word or str(token)  # "" means padding to readers
