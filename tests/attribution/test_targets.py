"""What a target means for every kind of output: classes, sequences, segmentations, single sigmoids, quantities."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.targets import OTHER_LABELS, WHERE_PREDICTED
from tests import models
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(5, 4)).astype(np.float32)
SERIES = RNG.normal(size=(5, 3, 4)).astype(np.float32)


def explain(model: Any, xs: Any, **options: Any) -> dx.Result:
    result: dx.Result = dx.explain("gradient_x_input", model, xs, return_result=True, **options)
    return result


def linear(units: int, activation: str | None = None, seed: int = 0) -> keras.Model:
    """`[..., 4]` → `[..., units]`, so that the map of a unit at a position is w · x there and zero elsewhere."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, layers.Dense(units, activation, bias_initializer="normal", name="head")(inputs))


@pytest.fixture(scope="module")
def tagger() -> keras.Model:
    """A class for each of three steps: logits `[N, 3, 4]` before a softmax."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3, 4), name="x")
    return keras.Model(inputs, layers.Dense(4, "softmax", bias_initializer="normal", name="head")(inputs))


def logits(model: keras.Model, xs: np.ndarray) -> np.ndarray:
    weights, bias = model.get_layer("head").get_weights()
    return xs @ weights + bias


def literal_map(model: keras.Model, xs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gradient × input of Σ weights · logits."""
    return xs * (weights @ model.get_layer("head").get_weights()[0].T)


def test_the_predicted_class_is_the_default_of_several() -> None:
    model = linear(3, "softmax")
    winner = logits(model, ROWS).argmax(-1)
    default = explain(model, ROWS)
    np.testing.assert_array_equal(default.target, winner)
    assert_maps_close(default.attributions, literal_map(model, ROWS, np.eye(3)[winner]))
    assert_maps_close(explain(model, ROWS, target="predicted").attributions, default.attributions)
    assert default.warnings == [[]] * 5
    total = explain(model, ROWS, target=None)
    assert_maps_close(total.attributions, literal_map(model, ROWS, np.ones((5, 3))))
    assert total.target is None
    explainer = dx.Explainer("gradient_x_input", model, target=1)
    assert_maps_close(explainer.run(ROWS), literal_map(model, ROWS, np.eye(3)[[1] * 5]))
    assert_maps_close(explainer.run(ROWS, target=None), total.attributions)


def test_evaluation_explains_the_predicted_class_too() -> None:
    model = linear(3, "softmax")
    explainer = dx.Explainer("gradient_x_input", model)
    by_default = dx.evaluate("gradient_x_input", model, ROWS, ["deletion"])["deletion"].value
    by_number = dx.evaluate("gradient_x_input", model, ROWS, ["deletion"], target=logits(model, ROWS).argmax(-1))
    np.testing.assert_allclose(by_default, by_number["deletion"].value)
    assert ((by_default >= 0) & (by_default <= 1)).all()
    of_result = dx.Evaluator(explainer, ["deletion"]).run(ROWS, explainer.run(ROWS, target=2, return_result=True))
    of_class_2 = dx.evaluate("gradient_x_input", model, ROWS, ["deletion"], target=2)
    np.testing.assert_allclose(of_result["deletion"].value, of_class_2["deletion"].value)


def test_values_of_inner_tensors_are_predicted_from_there() -> None:
    model = models.image()
    pictures = RNG.normal(size=(3, 8, 8, 3)).astype(np.float32)
    inner = keras.Model(model.input, model.get_layer("relu").output)(pictures).numpy()
    explainer = dx.Explainer("saliency", model, inputs="relu")
    np.testing.assert_array_equal(
        explainer.run({"relu": inner}, return_result=True).target, model(pictures).numpy().argmax(-1)
    )


def test_a_single_sigmoid_has_two_classes() -> None:
    model = linear(1, "sigmoid")
    of_1 = literal_map(model, ROWS, np.ones((5, 1)))
    assert_maps_close(explain(model, ROWS).attributions, of_1)
    assert_maps_close(explain(model, ROWS, target=1).attributions, of_1)
    assert_maps_close(explain(model, ROWS, target=0).attributions, -of_1)
    predicted = (logits(model, ROWS)[:, 0] > 0).astype(int)
    for output in (None, "output"):
        result = explain(model, ROWS, target="predicted", output=output)
        np.testing.assert_array_equal(result.target, predicted)
        assert_maps_close(np.sign(result.attributions), np.sign(of_1) * np.where(predicted, 1, -1)[:, None])
    with pytest.raises(dx.InputError, match="target=2: the output is a single sigmoid, of the classes 0 and 1"):
        explain(model, ROWS, target=2)
    deletion = dx.evaluate("gradient_x_input", model, ROWS, ["deletion"], target=0)["deletion"]
    assert ((deletion.value >= 0) & (deletion.value <= 1)).all()


def test_of_several_sigmoids_the_most_probable_is_explained() -> None:
    model = linear(3, "sigmoid")
    z = logits(model, ROWS)
    counts = (z > 0).sum(1)
    assert {0, 2} <= {0, *counts.tolist()}
    for options in ({}, {"logits": False}):
        result = explain(model, ROWS, **options)
        np.testing.assert_array_equal(result.target, z.argmax(1))
        assert result.warnings == [[OTHER_LABELS] if count > 1 else [] for count in counts]
        labels = dx.Explainer("saliency", model, **options).predict(ROWS).labels
        assert labels is not None
        assert [sorted(of_example) for of_example in labels] == [np.flatnonzero(row > 0).tolist() for row in z]
        assert all(
            row[of_example].tolist() == sorted(row[of_example])[::-1] for row, of_example in zip(z, labels, strict=True)
        )
    assert explain(model, ROWS, target=1).warnings == [[]] * 5
    assert dx.Explainer("saliency", linear(3, "softmax")).predict(ROWS).labels is None


def test_a_quantity_is_explained_as_it_is() -> None:
    model = linear(1)
    expected = literal_map(model, ROWS, np.ones((5, 1)))
    for target in ({}, {"target": "predicted"}, {"target": 0}, {"target": None}):
        assert_maps_close(explain(model, ROWS, **target).attributions, expected)
    with pytest.raises(dx.InputError, match="target=1: the output has 1 units"):
        explain(model, ROWS, target=1)


def test_a_forecast_of_one_value_a_step_is_summed() -> None:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, layers.Dense(1, name="head")(inputs))
    for target in ({}, {"target": "predicted"}, {"target": 0}):
        result = explain(model, SERIES, **target)
        assert_maps_close(result.attributions, literal_map(model, SERIES, np.ones((5, 3, 1))))
        assert result.positions is None
    one_step = np.zeros((5, 3, 1))
    one_step[:, 2] = 1
    assert_maps_close(explain(model, SERIES, target=(2, 0)).attributions, literal_map(model, SERIES, one_step))
    with pytest.raises(dx.InputError, match=r"target=2: the output has 1 units.*a position in its shape \(3, 1\)"):
        explain(model, SERIES, target=2)


def test_positions_are_tuples(tagger: keras.Model) -> None:
    def unit(positions: Any) -> np.ndarray:
        weights = np.zeros((5, 3, 4))
        weights[(np.arange(5), *np.broadcast_to(positions, (5, 2)).T)] = 1
        return literal_map(tagger, SERIES, weights)

    for_all = explain(tagger, SERIES, target=(2, 1))
    assert_maps_close(for_all.attributions, unit((2, 1)))
    assert_maps_close(for_all.score, logits(tagger, SERIES)[:, 2, 1])
    np.testing.assert_array_equal(for_all.target, [[2, 1]] * 5)
    each = np.array([[0, 3], [1, 0], [2, 2], [0, 0], [2, 3]])
    assert_maps_close(explain(tagger, SERIES, target=each).attributions, unit(each))
    assert_maps_close(explain(tagger, SERIES[:2], target=(2, 1)).attributions, unit((2, 1))[:2])  # not [N] classes
    deletion = dx.evaluate("gradient_x_input", tagger, SERIES, ["deletion"], target=(2, 1))["deletion"].value
    assert ((deletion >= 0) & (deletion <= 1)).all()


def test_a_class_is_summed_where_it_is_predicted(tagger: keras.Model) -> None:
    z = logits(tagger, SERIES)
    wins = np.eye(4, dtype=bool)[z.argmax(-1)]
    sums = np.where(wins.any(1), np.where(wins, z, 0).sum(1), -np.inf)
    result = explain(tagger, SERIES)
    np.testing.assert_array_equal(result.target, sums.argmax(-1))
    assert_maps_close(result.score, sums.max(-1))
    mask = wins & (np.arange(4) == sums.argmax(-1)[:, None, None])
    np.testing.assert_array_equal(result.positions, mask.any(-1))
    assert_maps_close(result.attributions, literal_map(tagger, SERIES, mask))
    assert result.warnings == [[WHERE_PREDICTED.format(k)] for k in result.target]
    of_class_1 = explain(tagger, SERIES, target=1)
    nowhere = ~wins[..., 1].any(1)
    assert nowhere.any()
    assert not nowhere.all()
    positions = wins[..., 1] | nowhere[:, None]
    np.testing.assert_array_equal(of_class_1.positions, positions)
    assert_maps_close(of_class_1.score, np.where(positions, z[..., 1], 0).sum(1))
    predicted, nowhere_text = "the score is that of class 1, summed over the", "the model predicts class 1 nowhere: its"
    for (text,), is_nowhere in zip(of_class_1.warnings, nowhere, strict=True):
        assert text.startswith(nowhere_text if is_nowhere else predicted)
    assert_maps_close(explain(tagger, SERIES, target=None).score, z.sum((1, 2)))


def test_a_region_stays_while_the_input_changes(tagger: keras.Model) -> None:
    """Perturbation, the path of integrated gradients, measures and randomised models keep the positions of the example."""
    z, at_zero = logits(tagger, SERIES), logits(tagger, 0 * SERIES)
    for method in ("integrated_gradients", "shapley_sampling"):
        result = dx.explain(method, tagger, SERIES, return_result=True)
        change = np.where(
            result.positions, np.take_along_axis(z - at_zero, result.target[:, None, None], -1)[..., 0], 0
        )
        assert_maps_close(result.attributions.sum((1, 2)), change.sum(1))
    explainer = dx.Explainer("occlusion", tagger)
    of_class_1 = explainer.run(SERIES, target=1, return_result=True)
    assert_maps_close(
        explainer.run(SERIES * 0 + 1, target=of_class_1.explained, return_result=True).positions, of_class_1.positions
    )
    gap = dx.Evaluator(explainer, ["completeness"]).run(SERIES, of_class_1)["completeness"]
    assert np.isfinite(gap.value).all()


def test_channels_of_inner_tensors_are_summed_over_all_positions() -> None:
    model = models.image()
    pictures = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
    values = keras.Model(model.input, model.get_layer("conv").output)(pictures).numpy()
    assert_maps_close(explain(model, pictures, output="conv", target=4).score, values[..., 4].sum((1, 2)))
    assert_maps_close(explain(model, pictures, output="conv", target=(1, 2, 4)).score, values[:, 1, 2, 4])


def test_a_mask_of_one_sigmoid_a_pixel_explains_the_foreground() -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5, 5, 2))
    model = keras.Model(
        inputs, layers.Conv2D(1, 1, activation="sigmoid", bias_initializer="normal", name="head")(inputs)
    )
    pictures = RNG.normal(size=(3, 5, 5, 2)).astype(np.float32)
    kernel, bias = model.get_layer("head").get_weights()
    z = (pictures @ kernel[0, 0] + bias)[..., 0]
    foreground, background = explain(model, pictures), explain(model, pictures, target=0)
    assert_maps_close(foreground.score, np.where(z > 0, z, 0).sum((1, 2)))
    np.testing.assert_array_equal(foreground.positions, z > 0)
    assert_maps_close(background.score, np.where(z > 0, 0, -z).sum((1, 2)))
    predicted = explain(model, pictures, target="predicted")
    np.testing.assert_array_equal(predicted.target, (foreground.score > background.score).astype(int))


@pytest.mark.parametrize(
    "target",
    [
        np.array([2.0, 0.0, 1.0, 1.0, 2.0]),
        np.array([[2], [0], [1], [1], [2]]),
        np.eye(3)[[2, 0, 1, 1, 2]],
        np.eye(3, dtype=bool)[[2, 0, 1, 1, 2]],
        ["cat", "ant", "bee", "bee", "cat"],
        np.array([b"cat", b"ant", b"bee", b"bee", b"cat"], object),
    ],
    ids=["floats", "column", "one-hot", "booleans", "names", "bytes"],
)
def test_labels_are_taken_as_people_have_them(target: Any) -> None:
    model = linear(3, "softmax")
    result = explain(model, ROWS, target=target, class_names=["ant", "bee", "cat"])
    np.testing.assert_array_equal(result.target, [2, 0, 1, 1, 2])


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("cat", {}, "'predicted' or None; names need class_names"),
        ("catt", {"class_names": ["ant", "bee", "cat"]}, "target: no class is named 'catt'; did you mean 'cat'"),
        ("ant", {"class_names": ["ant", "bee"]}, "class_names: got 2 names; the output has 3 classes"),
        (np.ones((5, 3)), {}, "target: got several classes for each example"),
        (np.full((5, 3), 0.5), {}, "target: got real numbers for each example"),
        (0.5, {}, "expected class numbers, got float64"),
        ([0.5] * 5, {}, "target: holds 0.5; the model has 3 classes"),
        ([[0, 1], [2], [0], [1], [2]], {}, "target: got several classes for each example"),
        (99, {}, "target=99: the output has 3 units, numbered from 0"),
    ],
)
def test_what_is_no_target_is_refused(target: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explain(linear(3, "softmax"), ROWS, target=target, **options)


def test_weights_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(dx.InputError, match=r"ys: got array.*; expected numbers"):
        explain(linear(3, "softmax"), ROWS[:2], ys=[[0, 1], [2]])


def test_measures_refuse_classes_out_of_range() -> None:
    explainer = dx.Explainer("gradient_x_input", linear(3, "softmax"))
    evaluator = dx.Evaluator(explainer, ["deletion"])
    result = explainer.run(ROWS, return_result=True)
    for call in (evaluator.chance, lambda xs, target: evaluator.run(xs, result, target=target)):
        for target in (3, -1):
            with pytest.raises(dx.InputError, match=f"target={target}: the output has 3 units, numbered from 0"):
                call(ROWS, target=target)


def test_a_position_out_of_range_is_refused(tagger: keras.Model) -> None:
    with pytest.raises(dx.InputError, match=r"position 3 is not among 3 on an axis; the output has shape \(3, 4\)"):
        explain(tagger, SERIES, target=(3, 0))
    with pytest.raises(dx.InputError, match="a position in the output is a tuple of 2 numbers"):
        explain(tagger, SERIES, target=(1, 2, 3))


def test_labels_of_two_positions_are_no_position() -> None:
    pair = keras.Input((2, 3))
    model = keras.Model(pair, keras.layers.Dense(3, "softmax")(pair))
    xs, labels = np.ones((4, 2, 3), np.float32), np.array([[0, 1], [1, 2], [1, 0], [0, 0]])
    with pytest.raises(dx.InputError, match=r"labels: got shape \(4, 2\), labels of positions"):
        dx.explain("saliency", model, (xs, labels), target="label")
    np.testing.assert_array_equal(explain(model, xs, target=labels).target, labels)  # an array of positions


def test_positions_of_longer_texts_are_none_of_a_shorter_one() -> None:
    """Texts of one length are computed together; the outputs of shorter ones are filled up with zeros, which exceed logarithms."""
    words = tf.lookup.KeyValueTensorInitializer(tf.constant(list("abcdefgh")), tf.range(1, 9, dtype=tf.int64))
    table = tf.lookup.StaticHashTable(words, 0)
    rng = np.random.default_rng(0)
    embedding, head = (tf.constant(rng.normal(size=shape), tf.float32) for shape in ((9, 4), (4, 3)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def tag(texts: Any) -> Any:
        return tf.nn.log_softmax(tf.gather(embedding, table.lookup(tf.strings.split(texts).to_tensor(""))) @ head)

    explainer = dx.Explainer("gradient_x_input", tag, logits=False, check_batch=False)
    texts = ["a b c", "d", "e f"]
    for target in ("predicted", 0, 2):
        together = explainer.run(texts, target=target, return_result=True)
        alone = [explainer.run([text], target=target, return_result=True) for text in texts]
        np.testing.assert_array_equal(together.target, [result.target[0] for result in alone])
        np.testing.assert_allclose(together.score, [result.score[0] for result in alone], rtol=1e-5)
        for i, result in enumerate(alone):
            assert_maps_close(together.tokens[i, : result.tokens.shape[1]], result.tokens[0])
