"""A graph that is not its model is traced for the sizes at hand or refused; a model that mixes examples is warned of."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.evaluation.randomisation import parameter_randomisation
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
SEQUENCES = RNG.normal(size=(6, 5, 4)).astype(np.float32)
SPEC = tf.TensorSpec([None, 3], tf.float32)
NUMBERS = RNG.normal(size=(4, 3)).astype(np.float32)


def _sequence_model() -> keras.Model:
    """Keras traces TimeDistributed as a loop over the batch where neither batch nor time are known."""
    keras.utils.set_random_seed(1)
    dense = layers.TimeDistributed(layers.Dense(2, "tanh"), name="dense")
    return keras.Sequential([keras.Input((None, 4)), dense, layers.GlobalAveragePooling1D(), layers.Dense(2)])


def _gradient(model: Any, x: np.ndarray) -> Any:
    """Of unit 1 of the model as called."""
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        score = model(inputs)[:, 1]
    return tape.gradient(score, inputs).numpy()


def test_open_sizes_are_traced_at_the_sizes_given_where_the_graph_differs() -> None:
    model = _sequence_model()
    explainer = dx.Explainer("saliency", model, target=1)
    for count, length in ((1, 5), (3, 5), (6, 5), (2, 3)):
        x = SEQUENCES[:count, :length]
        assert_maps_close(explainer.predict(x).outputs, model(x))
        result = explainer.run(x, return_result=True)
        assert_maps_close(result.attributions, abs(_gradient(model, x)))
        assert_maps_close(result.score, model(x)[:, 1])
        assert result.warnings == [[]] * count
    inner = dx.Explainer("occlusion", model, target=0, output="dense", window_shape=(5, 4)).run(
        SEQUENCES, return_result=True
    )
    assert_maps_close(inner.score, tf.reduce_sum(model.layers[0](SEQUENCES)[..., 0], 1))
    wrong = dx.Explainer("saliency", model, target=1, check_model=False, check_batch=False).predict(SEQUENCES[:1])
    assert abs(wrong.outputs - model(SEQUENCES[:1]).numpy()).max() > 0.01, (
        "Keras traces the model rightly: drop this test's model"
    )


def test_measures_and_changed_weights_use_the_graph_for_the_sizes_given() -> None:
    model = _sequence_model()
    evaluator = dx.Evaluator(dx.Explainer("saliency", model, target=1), {"deletion": {"steps": 4}})
    curve = evaluator.run(SEQUENCES)["deletion"].curve
    assert curve is not None
    np.testing.assert_allclose(abs(curve[:, 0]), abs(model(SEQUENCES)[:, 1]), atol=1e-5)
    graph = dx.load_model(model)
    explainer = dx.Explainer("saliency", graph, target=1)
    explainer.run(SEQUENCES)
    (name,) = [name for name in graph.captured_names if graph.weight_value(name).shape == (4, 2)]
    doubled = explainer.for_model(graph.with_weights({name: 2 * graph.weight_value(name)})).run(SEQUENCES)
    model.layers[0].layer.kernel.assign(2 * model.layers[0].layer.kernel)
    assert_maps_close(doubled, abs(_gradient(model, SEQUENCES)))


def test_models_that_cannot_be_traced_with_open_sizes() -> None:
    inputs = keras.Input((None, None, 1))
    x = layers.UpSampling2D()(layers.Conv2D(2, 3)(inputs))
    x = layers.Flatten()(layers.AdaptiveAveragePooling2D(2)(layers.Conv2DTranspose(2, 3, activation="tanh")(x)))
    model = keras.Model(inputs, layers.Dense(2)(x))
    explainer = dx.Explainer("saliency", model, target=1)
    for size in (32, 7):
        pictures = RNG.normal(size=(2, size, size + 1, 1)).astype(np.float32)
        assert_maps_close(explainer.run(pictures), abs(_gradient(model, pictures)))


def test_subclassed_models_take_other_sizes_than_the_first() -> None:
    class Convolutional(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dense = layers.Conv2D(3, 3, activation="tanh"), layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(tf.reduce_mean(self.conv(x), [1, 2]))

    model = Convolutional()
    model(np.zeros((1, 8, 8, 2), np.float32))
    explainer = dx.Explainer("saliency", model, target=1)
    for size in (8, 5):
        pictures = RNG.normal(size=(3, size, size, 2)).astype(np.float32)
        assert_maps_close(explainer.run(pictures), abs(_gradient(model, pictures)))
        of_several = dx.explain(["gradient_x_input", "saliency"], model, pictures, target=1)
        assert_maps_close(of_several["saliency"], abs(_gradient(model, pictures)))
        methods = ["saliency", "gradient_x_input"]
        assert dx.rank(model, pictures, target=1, methods=methods, measures=["deletion"]).examples == 3
    with pytest.raises(dx.InputError, match=r"a shape that the model does not take: .*\(None, 5, 5, 1\)"):
        explainer.run(pictures[..., :1])
    with pytest.raises(dx.InputError, match=r"got shape \(5, 5, 2\), one example without the batch"):
        explainer.run(pictures[0])


def test_a_graph_that_differs_from_the_model_is_refused() -> None:
    calls = []

    def model(x: Any) -> Any:
        if not tf.executing_eagerly():
            return tf.nn.softmax(3 * x)
        calls.append(len(x))
        return tf.nn.softmax(x)

    graph = dx.load_model((model, SPEC))
    for method in ("saliency", "occlusion"):
        explainer = dx.Explainer(method, graph, target=1)
        for _ in range(2):
            with pytest.raises(
                dx.UnsupportedModelError,
                match=r"graph differs from the model .*output_0' is 0\.\d+, the model's is 0\.\d",
            ):
                explainer.run(NUMBERS)
    assert len(calls) == 1, "one check for both methods"
    assert dx.explain("saliency", graph, NUMBERS, target=1, check_model=False).shape == NUMBERS.shape


def test_saturated_probabilities_do_not_hide_other_logits() -> None:
    def model(x: Any) -> Any:
        return tf.nn.softmax([[40.0, 0.0]] + x[:, :2] * (1.0 if tf.executing_eagerly() else 2.0))

    with pytest.raises(dx.UnsupportedModelError, match="the graph differs"):
        dx.explain("saliency", (model, SPEC), NUMBERS, target=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_rounding_is_no_difference(dtype: str) -> None:
    keras.utils.set_random_seed(2)
    stack = [layers.Dense(32, "gelu", dtype=dtype) for _ in range(4)]
    model = keras.Sequential([keras.Input((3,), dtype=dtype), *stack, layers.Dense(2, dtype=dtype)])
    result = dx.explain("gradient_x_input", model, NUMBERS, target=1, return_result=True)
    assert result.warnings == [[]] * 4


@pytest.mark.parametrize("seed", [0, 12])
def test_scores_that_are_all_rounding_are_no_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(4, 3)).astype(np.float32)
    weights = tf.constant(rng.normal(size=(3, 999)), tf.float32)

    def model(x: Any) -> Any:
        terms = 1e3 * tf.sin(x @ weights)
        rounding = tf.reduce_sum(terms, 1) - tf.reduce_sum(tf.reverse(terms, [1]), 1)
        return rounding if tf.executing_eagerly() else -rounding

    assert tf.reduce_any(model(tf.constant(numbers)) != 0)
    dx.explain("saliency", (model, SPEC), numbers, return_result=True)


def test_models_that_mix_examples_are_warned_of() -> None:
    def by_mean(x: Any) -> Any:
        return tf.cond(tf.reduce_mean(x) > 0, lambda: 2 * x, lambda: 3 * x)

    spectrogram = keras.Sequential(
        [keras.Input((600,)), layers.MelSpectrogram(num_mel_bins=4, fft_length=64, sequence_stride=64)]
    )
    sounds = RNG.normal(size=(2, 600)).astype(np.float32)
    partly_silent = sounds.copy()
    partly_silent[0, 200:] = 0
    cases = [
        ((by_mean, SPEC), NUMBERS),
        ((by_mean, SPEC), NUMBERS[:1]),
        (spectrogram, partly_silent),
        (spectrogram, sounds),
    ]
    for model, x in cases:
        explainer = dx.Explainer("saliency", model, target=0)
        warned = explainer.run(x, return_result=True).warnings
        assert len(warned) == len(x)
        assert all("mixes the examples of a batch" in str(texts) and "batch_size=1" in str(texts) for texts in warned)
        assert "mixes" not in str(explainer.run(x, return_result=True, batch_size=1).warnings)
        unchecked = dx.explain("saliency", model, x, target=0, return_result=True, check_batch=False)
        assert "mixes" not in str(unchecked.warnings)


@pytest.mark.parametrize("seed", range(6))
def test_a_condition_on_the_whole_batch_is_noticed_whatever_the_examples(seed: int) -> None:
    def by_sign(x: Any) -> Any:
        return tf.cond(tf.reduce_mean(x) > 0, lambda: 2 * x, lambda: 3 * x)

    def by_brightness(x: Any) -> Any:
        x = tf.cast(x, tf.float32)
        return tf.cond(tf.reduce_mean(x) > 127, lambda: 2 * x, lambda: 3 * x)

    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(4, 3)).astype(np.float32)
    pictures = rng.integers(0, 256, (4, 3), np.uint8)
    for model, x in ((by_sign, numbers), (by_brightness, pictures)):
        spec = tf.TensorSpec([None, 3], x.dtype)
        with pytest.warns(UserWarning, match="mixes the examples of a batch"):
            dx.explain("saliency", (model, spec), x, target=0)


def test_texts_of_one_length_are_compared_with_a_longer_one() -> None:
    """A batch is filled up to its longest text, and the mean counts what was filled in."""
    words = tf.lookup.KeyValueTensorInitializer(["a", "b", "c", "d"], tf.range(1, 5))
    table = tf.lookup.StaticHashTable(words, 0)
    rows = tf.constant(RNG.normal(size=(5, 2)), tf.float32)

    def mean_of_words(texts: Any) -> Any:
        return tf.reduce_mean(tf.nn.embedding_lookup(rows, table.lookup(tf.strings.split(texts).to_tensor(""))), [1, 2])

    model = (mean_of_words, tf.TensorSpec([None], tf.string))
    warned = dx.explain("saliency", model, ["a b", "c d", "b c", "a b c d"], return_result=True).warnings
    assert all("mixes the examples of a batch" in str(texts) for texts in warned)


def test_measures_warn_of_models_that_mix_examples() -> None:
    def by_mean(x: Any) -> Any:
        return tf.nn.relu(x - tf.reduce_mean(x, 0))

    with pytest.warns(UserWarning, match="mixes the examples of a batch"):
        dx.evaluate("saliency", (by_mean, SPEC), NUMBERS, ["deletion"], target=0)
    methods = ["saliency", "gradient_x_input"]
    with pytest.warns(UserWarning, match="mixes the examples of a batch") as warned:
        dx.rank((by_mean, SPEC), NUMBERS, target=0, methods=methods, measures=["deletion"])
    assert len(warned) == 1


def test_a_model_that_cannot_be_called_is_said() -> None:
    def model(x: Any) -> Any:
        if tf.executing_eagerly():
            raise RuntimeError("only in a graph")
        return x**2

    result = dx.explain("saliency", (model, SPEC), NUMBERS, target=0, return_result=True)
    assert (
        result.warnings == [["the graph was not compared with the model, which cannot be called: only in a graph"]] * 4
    )


WEIGHTS = RNG.normal(size=(4, 3)).astype(np.float32)


def _mean_over_time(x: Any) -> Any:
    """Wrong where the number of steps is unknown; its weights are constants of the graph."""
    return tf.reduce_sum(x, 1) @ WEIGHTS / (x.shape[1] or 1)


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["plain", "tf.function"])
def test_functions_with_open_sizes_are_traced_at_the_sizes_given(wrap: Any) -> None:
    model = (wrap(_mean_over_time), tf.TensorSpec([None, None, 4]))
    explainer = dx.Explainer("gradient_x_input", model, target=0)
    for length in (5, 3):
        xs = SEQUENCES[:, :length]
        assert_maps_close(explainer.predict(xs).outputs, _mean_over_time(tf.constant(xs)))
        assert_maps_close(explainer.run(xs), xs * WEIGHTS[:, 0] / length)


def test_sizes_given_of_a_model_without_variables_are_measured_and_randomised() -> None:
    model = (_mean_over_time, tf.TensorSpec([None, None, 4]))
    explainer = dx.Explainer("gradient_x_input", model, target=0)
    curve = dx.Evaluator(explainer, {"deletion": {"steps": 3}}).run(SEQUENCES)["deletion"].curve
    assert curve is not None
    np.testing.assert_allclose(abs(curve[:, 0]), abs(_mean_over_time(tf.constant(SEQUENCES))[:, 0]), atol=1e-5)
    assert parameter_randomisation(explainer, SEQUENCES).similarity[:, 1].max() < 0.999


def test_the_check_of_changed_weights_does_not_stand_for_that_of_the_model() -> None:
    graph = dx.load_model((lambda x: x * (1.0 if tf.executing_eagerly() else 2.0), SPEC))
    dx.explain("saliency", graph.with_weights({}), NUMBERS, target=0)
    with pytest.raises(dx.UnsupportedModelError, match="graph differs from the model"):
        dx.explain("saliency", graph, NUMBERS, target=0)


def test_a_model_that_asserts_what_its_examples_hold_is_compared() -> None:
    def model(x: Any) -> Any:
        tf.debugging.assert_non_negative(x)
        return x**2 if tf.executing_eagerly() else x**3

    with pytest.raises(dx.UnsupportedModelError, match="graph differs from the model"):
        dx.explain("saliency", (model, SPEC), abs(NUMBERS), target=0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: tf.squeeze(x[:, :1]), "is one number for one example alone"),
        (lambda x: tf.transpose(x), "has 3 rows for a batch of 5"),
        (lambda x: tf.reduce_sum(x), "is one number for all examples"),
        (lambda x: tf.transpose(tf.stack([x] * 5, 1), [1, 0, 2]), "has 5 rows for one example alone"),
        (lambda x: x[:1], "has 1 rows for a batch of 5"),
    ],
)
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "deeplift", "occlusion", "shapley_sampling"])
def test_an_output_that_loses_its_batch_is_refused_by_every_method(change: Any, text: str, method: str) -> None:
    with pytest.raises(dx.UnsupportedModelError, match=f"{text}; it needs the batch as its first axis"):
        dx.explain(method, (lambda x: change(tf.tanh(x)), SPEC), NUMBERS)


def test_an_output_without_the_batch_first_is_refused() -> None:
    model = (lambda x: tf.reshape(x, [-1, 1]), SPEC)
    with pytest.raises(
        dx.UnsupportedModelError, match="has 15 rows for a batch of 5; it needs the batch as its first axis"
    ):
        dx.explain("saliency", model, NUMBERS)
