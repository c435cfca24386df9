"""What is stored for outputs that are no single row of exclusive classes: several labels, positions, score functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.targets import WHERE_PREDICTED
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.store.records import Attribution
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(5, 4)).astype(np.float32)
SERIES = RNG.normal(size=(4, 3, 4)).astype(np.float32)
SCORES = """
def first_rather_than_second(outputs):
    return outputs[:, 0] - outputs[:, 1]
"""


def dense(shape: Sequence[int], units: int, activation: str | None) -> keras.Model:
    keras.utils.set_random_seed(3)
    x = keras.Input(shape, name="x")
    return keras.Model(x, layers.Dense(units, activation, bias_initializer="normal", name="head")(x))


def rows_of(
    model: keras.Model, xs: np.ndarray, truth: Sequence[Any] | None = None, **options: Any
) -> list[list[Attribution]]:
    """The rows of each example."""
    explainer = BatchExplainer(make_request("m", ["gradient_x_input"], **options), dx.load_model(model))
    examples = [Example(str(i), {"x": x}, None if truth is None else truth[i]) for i, x in enumerate(xs)]
    fractions: list[float] = []
    records = explainer.explain(examples, fractions.append)
    assert not records.errors
    assert sum(fractions) == pytest.approx(len(xs))
    return [[row for row in records.attributions if row.example_id == str(i)] for i in range(len(xs))]


def test_each_label_above_one_half_has_a_map() -> None:
    model = dense((4,), 3, "sigmoid")
    probabilities = model(ROWS).numpy()
    labels = [(0, 1), (), (2,), (1,), (0, 1, 2)]
    counts = set()
    explainer = dx.Explainer("gradient_x_input", model)
    rows = rows_of(model, ROWS, labels, labels=["cat", "dog", "sky"], measures=["deletion"])
    for i, of_example in enumerate(rows):
        order = np.argsort(-probabilities[i])
        above = [int(k) for k in order if probabilities[i, k] > 0.5]
        assert [row.target for row in of_example] == (above or [int(order[0])])
        counts.add(len(of_example))
        for row in of_example:
            assert_maps_close(row.values, explainer.run(ROWS[i : i + 1], target=row.target)[0])
            assert row.probability == pytest.approx(probabilities[i, row.target], rel=1e-5)
            assert row.target_index == [row.target]
            assert row.label is None
            assert row.label_name == (", ".join(["cat", "dog", "sky"][k] for k in labels[i]) or None)
            assert row.extras is not None
            assert row.extras["predictions"] == ",".join(map(str, sorted(above)))
            assert row.extras["labels"] == ",".join(map(str, labels[i]))
            assert row.predicted == (row.target if above else None)
            assert 0 <= row.measures["deletion"] <= 1
    assert len(counts) > 1
    three = rows_of(model, ROWS, target="top:3")
    assert [[row.target for row in of_example] for of_example in three] == (-probabilities).argsort(1).tolist()


def test_classes_of_a_sequence_are_stored_with_their_region() -> None:
    model = dense((3, 4), 4, "softmax")
    expected = dx.explain("gradient_x_input", model, SERIES, return_result=True)
    for i, (row,) in enumerate(rows_of(model, SERIES)):
        assert (row.target, row.predicted) == (expected.target[i], expected.target[i])
        assert (row.target_index, row.score_function) == (None, "region")
        assert WHERE_PREDICTED.format(row.target) in row.warnings
        assert_maps_close(row.values, expected.attributions[i])
    probabilities = model(SERIES).numpy()
    for i, (row,) in enumerate(rows_of(model, SERIES, target="2,1")):
        assert (row.target, row.target_index, row.score_function) == (1, [2, 1], None)
        assert row.predicted == probabilities[i, 2].argmax()
        assert row.probability == pytest.approx(probabilities[i, 2, 1], rel=1e-5)
        assert not row.warnings


def test_a_score_function_is_stored_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scores.py").write_text(SCORES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    model, name = dense((4,), 3, "softmax"), "my_scores:first_rather_than_second"
    expected = dx.explain("gradient_x_input", model, ROWS, score=lambda y: y[:, 0] - y[:, 1])
    of_logits = dx.explain("gradient_x_input", model, ROWS, score=lambda y: y[:, 0] - y[:, 1], logits=True)
    for logits, maps in ((None, expected), (True, of_logits)):
        for i, (row,) in enumerate(rows_of(model, ROWS, score=name, logits=logits)):
            assert_maps_close(row.values, maps[i])
            assert (row.target, row.predicted, row.score_function) == (None, None, name)
            assert row.row()["target_index"] is None
    for options in ({"target": 1}, {"output": "head"}):
        with pytest.raises(ParameterError, match="got score and output or target"):
            make_request("m", ["saliency"], score=name, **options)
    with pytest.raises(ParameterError, match="score my_scores:nothing: AttributeError"):
        make_request("m", ["saliency"], score="my_scores:nothing")


def test_probabilities_are_explained_where_asked_for() -> None:
    model = dense((4,), 1, "sigmoid")
    probabilities = model(ROWS).numpy()[:, 0]
    expected = dx.explain("gradient_x_input", model, ROWS, logits=False)
    for i, (row,) in enumerate(rows_of(model, ROWS, logits=False)):
        predicted = int(probabilities[i] > 0.5)
        assert (row.target, row.predicted) == (predicted, predicted)
        assert_maps_close(row.values, expected[i] * (1 if predicted else -1))
        assert row.probability == pytest.approx(max(probabilities[i], 1 - probabilities[i]), rel=1e-5)
