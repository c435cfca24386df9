"""The words of a text: those that the model turns into token ids itself, unless a vocabulary is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request

WORDS = ["film", "dull", "good"]


def _vectorise(x: Any) -> Any:
    return layers.TextVectorization(vocabulary=WORDS, output_sequence_length=4)(x)


def _pooled(ids: Any) -> Any:
    return layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(ids))


def _words(model: keras.Model, xs: dict[str, Any], vocabulary: Sequence[str] | None = None) -> dict[str, list[str]]:
    explainer = BatchExplainer(make_request("", ["occlusion"], vocabulary=vocabulary), load_model(model))
    (shown,) = explainer.explain([Example("a", {name: np.array(x) for name, x in xs.items()})]).inputs
    parts = {part.input: part.tokens for part in shown.parts or ()} or {"text": shown.tokens}
    return {name: list(tokens) for name, tokens in parts.items() if tokens}


@pytest.mark.parametrize(
    ("encode", "vocabulary", "expected"),
    [
        (_vectorise, None, ["good", "1", "film", ""]),
        (_vectorise, ["", "?", "FILM", "DULL", "GOOD"], ["GOOD", "?", "FILM", ""]),
        (lambda x: _vectorise(x) + 1, None, ["5", "2", "3", "1"]),  # whose ids are not those of the words
    ],
)
def test_a_text_has_the_words_of_the_model(
    encode: Callable[[Any], Any], vocabulary: Sequence[str] | None, expected: list[str]
) -> None:
    text = keras.Input((), dtype="string", name="text")
    model = keras.Model(text, layers.Dense(2)(_pooled(encode(text))))
    assert _words(model, {"text": b"good old film"}, vocabulary) == {"text": expected}


def test_each_of_several_texts_has_its_words() -> None:
    title, tags = keras.Input((), dtype="string", name="title"), keras.Input((2,), dtype="string", name="tags")
    ids = layers.StringLookup(vocabulary=["drama", "crime"])(tags)
    joined = layers.Concatenate()([_pooled(_vectorise(title)), _pooled(ids)])
    model = keras.Model([title, tags], layers.Dense(2)(joined))
    xs = {"title": b"dull film", "tags": [b"crime", b"drama"]}
    assert _words(model, xs) == {"title": ["dull", "film", "", ""], "tags": ["crime", "drama"]}
