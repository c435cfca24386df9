"""An example as a person sees it: the picture as PNG or JPEG, the tokens as words, the numbers with names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tb_deepexplain.recording.example import Example
from tb_deepexplain.store.records import Input, ModelInput

PADDING = 0
_LARGE = float(np.finfo(np.float32).max)  # in the place of infinity


def picture(example: Example, inputs: Sequence[ModelInput]) -> Input:
    """The encoded bytes it came as, or the array of its only input as PNG."""
    encoded = example.picture or encode_png(example.inputs[inputs[0]["name"]])
    return Input(example.id, "image", image=encoded, label=example.label, inputs=inputs)


def encode_png(values: np.ndarray) -> bytes:
    """[H, W, C] as PNG: 0..1 and 0..255 as they are, other ranges from their minimum to their maximum.

    Channel counts that PNG does not have are shown by their mean.
    """
    values = values if values.shape[-1] in (1, 3, 4) else values.mean(-1, keepdims=True)
    values = values.astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        values = np.nan_to_num(values, posinf=_LARGE, neginf=-_LARGE)
        low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        values = values * 255
    elif low < 0 or high > 255:
        values = (values - low) * (255 / ((high - low) or 1))
    encoded: bytes = tf.io.encode_png(np.round(values).astype(np.uint8)).numpy()
    return encoded


def length(ids: np.ndarray) -> int:
    """How many tokens there are before the padding."""
    real = np.flatnonzero(ids != PADDING)
    return int(real[-1]) + 1 if real.size else 0


def words(ids: np.ndarray, vocabulary: Sequence[str] | None) -> list[str]:
    """One string a token: from the vocabulary, or the id itself; padding behind the last token is empty."""
    end = length(ids)
    return [_word(int(token), vocabulary) if i < end else "" for i, token in enumerate(ids)]


def _word(token: int, vocabulary: Sequence[str] | None) -> str:
    known = vocabulary is not None and 0 <= token < len(vocabulary)
    return (vocabulary[token] if known and vocabulary else "") or str(token)  # "" means padding to readers


def text(example: Example, tokens: Sequence[str], inputs: Sequence[ModelInput]) -> Input:
    """The tokens, one for each value of a map."""
    return Input(example.id, "text", tokens=tokens, label=example.label, inputs=inputs)


def numbers(example: Example, inputs: Sequence[ModelInput]) -> Input:
    """The values of all inputs, one input after the other."""
    values = [value for one in inputs for value in np.ravel(example.inputs[one["name"]]).tolist()]
    return Input(example.id, "tabular", values=values, label=example.label, inputs=inputs)
