"""Models as graphs: every way in gives the same model, entered and left where it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests import models

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(5, 8, 8, 3)).astype(np.float32)
IDS = np.array([[3, 4, 5, 0, 0], [2, 0, 0, 0, 0], [7, 6, 5, 4, 3]])
STRINGS = np.array(["a great film", "dull", "not the dull film unheardof"])
TWO = {"numbers": RNG.normal(size=(4, 4)).astype(np.float32), "ids": RNG.integers(0, 10, (4, 6))}


def _as(kind: str, model: keras.Model, folder: Path) -> Any:
    if kind == "object":
        return model
    if kind == "keras":
        model.save(folder / "model.keras")
        return folder / "model.keras"
    model.export(folder / "saved", verbose=False)
    return folder / "saved"


@pytest.mark.parametrize("kind", ["object", "keras", "saved_model"])
@pytest.mark.parametrize(
    ("build", "xs"),
    [
        (models.image, PICTURES),
        (models.text, IDS),
        (lambda: models.text(strings=True), STRINGS),
        (models.two_inputs, TWO),
        (models.sequential, PICTURES.reshape(-1, 10)),
    ],
    ids=["image", "ids", "strings", "two inputs", "sequential"],
)
def test_every_form_of_a_model_predicts_and_explains_alike(kind: str, build: Any, xs: Any, tmp_path: Path) -> None:
    model = build()
    expected = np.asarray(model(tf.constant(xs) if not isinstance(xs, dict) else xs, training=False))
    explainer = dx.Explainer("gradient_x_input", _as(kind, model, tmp_path))
    predictions = explainer.predict(xs, batch_size=2)
    actual = predictions.outputs if predictions.probabilities is None else predictions.probabilities
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    if predictions.probabilities is not None:
        np.testing.assert_allclose(tf.nn.softmax(predictions.outputs), expected, rtol=1e-5, atol=1e-6)
    found, reference = explainer.run(xs, target=1), dx.explain("gradient_x_input", model, xs, target=1)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, reference)


@pytest.mark.parametrize("strings", [False, True])
def test_the_embedding_is_entered_and_its_mask_kept(strings: bool) -> None:
    model, xs = models.text(strings=strings), STRINGS if strings else IDS
    result = dx.explain("gradient_x_input", model, xs, target=1, return_result=True, batch_size=2)
    embedding, lstm, head = (model.get_layer(n) for n in ("embedding", "lstm", "head"))
    ids = (
        tf.constant(IDS)
        if not strings
        else next(la for la in model.layers if "vectorization" in la.name)(tf.constant(STRINGS))
    )
    embedded = tf.gather(embedding.embeddings, ids)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        logits = lstm(embedded, mask=ids != 0) @ head.kernel + head.bias
        score = logits[:, 1]
    expected = (tape.gradient(score, embedded) * embedded).numpy()
    np.testing.assert_allclose(result.attributions, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.tokens, expected.sum(-1), rtol=1e-4, atol=1e-6)
    assert not result.tokens[ids.numpy() == 0].any(), "padding must get nothing"
    np.testing.assert_array_equal(dx.Explainer("saliency", model).predict(xs).token_ids, ids)


def test_variables_are_captured_not_copied() -> None:
    model = models.image()
    explainer = dx.Explainer("saliency", model)
    before = explainer.run(PICTURES, target=0)
    head = model.get_layer("head").kernel
    head.assign(2 * head)
    np.testing.assert_allclose(explainer.run(PICTURES, target=0), 2 * before, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:the explained output is a softmax")
@pytest.mark.parametrize(
    ("activation", "back"), [("softmax", True), ("sigmoid", True), ("linear", False), ("tanh", False)]
)
def test_logits_are_found_behind_softmax_and_sigmoid(activation: str, back: bool) -> None:
    model = models.image(activation=activation)
    probability = np.asarray(model(PICTURES))
    predictions = dx.Explainer("saliency", model).predict(PICTURES)
    assert (predictions.probabilities is not None) == back
    assert (abs(predictions.outputs - probability).max() > 0.01) == back
    as_it_is = dx.Explainer("saliency", model, output="output").predict(PICTURES)
    np.testing.assert_allclose(as_it_is.outputs, probability, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:the explained output is a softmax")
def test_inner_layers_can_be_entered_and_left() -> None:
    model = models.image()
    inner = keras.Model(model.input, model.get_layer("norm").output)
    hidden = np.asarray(inner(PICTURES))
    result = dx.explain("gradient_x_input", model, PICTURES, inputs="relu", output="head", target=2, return_result=True)
    assert result.attributions.shape == hidden.shape
    assert not result.attributions[hidden <= 0].any()
    np.testing.assert_allclose(
        dx.Explainer("saliency", model, output="norm").predict(PICTURES).outputs, hidden, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(dx.UnsupportedModelError, match="acts on the output through"):
        dx.explain("saliency", model, PICTURES, inputs=["image", "conv"], target=0)


def test_one_input_of_two_can_be_explained() -> None:
    model = models.two_inputs()
    alone, both = (dx.explain("gradient_x_input", model, TWO, inputs=i, target=0) for i in ("numbers", None))
    np.testing.assert_allclose(alone["numbers"], both["numbers"], rtol=1e-6)
    assert both["ids"].shape == (4, 6, 5)


def test_an_input_that_the_output_ignores_has_a_map_of_zeros() -> None:
    used, ignored = keras.Input((4,), name="used"), keras.Input((3,), name="ignored")
    model = keras.Model([used, ignored], keras.layers.Dense(2)(used))
    xs = [np.ones((2, 4), np.float32), np.ones((2, 3), np.float32)]
    for method in dx.methods():
        first, second = dx.explain(method.id, model, xs, target=0)
        assert first.any()
        assert second.shape == (2, 3)
        assert not second.any()


def test_layers_are_told_from_numbered_scopes() -> None:
    """Keras numbers layers as TensorFlow numbers scopes: `dense_1` is a layer, and a scope of layer `dense`."""
    layers = [keras.layers.Dense(5, "tanh", name="dense"), keras.layers.Dense(5, "tanh", name="dense_1")]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
    x = np.ones((3, 4), np.float32)
    for name in ("dense", "dense_1"):
        expected = keras.Model(model.inputs, model.get_layer(name).output)(x)
        np.testing.assert_allclose(dx.Explainer("saliency", model, output=name).predict(x).outputs, expected, rtol=1e-5)


def test_results_stand_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    question, answer = (keras.Input((4,), dtype="int32", name=n) for n in ("q", "d"))
    embed = keras.layers.Embedding(20, 3, embeddings_initializer="normal")
    parts = [keras.layers.Flatten()(embed(t)) for t in (question, answer)]
    model = keras.Model([question, answer], keras.layers.Dense(1)(keras.layers.Concatenate()(parts)))
    xs = [RNG.integers(0, 20, (2, 4)), RNG.integers(0, 20, (2, 4))]
    weights = model.layers[-1].kernel.numpy()[:, 0]
    found = dx.explain("gradient_x_input", model, xs)
    for i in (0, 1):
        table = embed.embeddings.numpy()[xs[i]]
        np.testing.assert_allclose(found[i], table * weights.reshape(2, 4, 3)[i], rtol=1e-5, atol=1e-8)
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(dx.InputError, match="by name: give a dict"):
        dx.explain("gradient_x_input", tmp_path / "saved", xs)


@pytest.mark.parametrize("kind", ["object", "saved_model"])
def test_activations_with_a_gradient_of_their_own(kind: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "silu"), keras.layers.Dense(2)])
    x = tf.constant(RNG.normal(size=(3, 4)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x)[:, 1]
    expected = abs(tape.gradient(score, x).numpy())
    np.testing.assert_allclose(dx.explain("saliency", _as(kind, model, tmp_path), x, target=1), expected, rtol=1e-5)


def test_functions_called_in_loops() -> None:
    @tf.function
    def half(x: Any) -> Any:
        return tf.sin(x)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def model(x: Any) -> Any:
        for _ in tf.range(2):
            x = half(x)
        return x * x

    x = tf.constant([[0.1, 0.2, 0.3]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.reduce_sum(model(x))
    for _ in range(2):  # a second time: differentiated functions have grown outputs
        np.testing.assert_allclose(dx.explain("saliency", model, x), abs(tape.gradient(score, x)), rtol=1e-5)
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.reduce_sum(model(x))


def test_a_step_without_gradient_is_named() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def rounded(x: Any) -> Any:
        return tf.cast(tf.argmax(x, 1), tf.float32)

    with pytest.raises(
        dx.UnsupportedModelError, match=r"no gradient reaches the explained input: it ends at ArgMax \(ArgMax\)"
    ):
        dx.explain("saliency", rounded, np.ones((2, 3), np.float32))
    assert dx.explain("occlusion", rounded, np.ones((2, 3), np.float32)).shape == (2, 3)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def summed(x: Any) -> Any:
        return tf.reduce_sum(x)

    with pytest.raises(dx.UnsupportedModelError, match="one number for all examples"):
        dx.explain("saliency", summed, np.ones((2, 3), np.float32))


def test_a_squeezed_sigmoid_still_has_logits_and_classes() -> None:
    inputs = keras.Input((4,))
    probability = keras.layers.Dense(1, activation="sigmoid")(inputs)
    model = keras.Model(inputs, keras.ops.squeeze(probability, -1))
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    predictions = dx.Explainer("saliency", model).predict(x)
    np.testing.assert_array_equal(predictions.classes, np.asarray(model(x)) > 0.5)
    assert dx.Explainer("saliency", model, output="output").predict(x).classes is None


def test_functions_are_models_too() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float64, name="x")])
    def cube(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x**3, lambda: -(x**3))

    x = np.array([[1.0, 2.0, 3.0]])
    found = dx.explain("intgrad", cube, x, tolerance=1e-6)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, x**3, rtol=1e-6)
    np.testing.assert_allclose(dx.explain("saliency", cube.get_concrete_function(), x), 3 * x**2)


def _refusals(folder: Path) -> list[tuple[Any, dict[str, Any], str]]:
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "saved_model.pb").write_bytes(b"not a model")
    (folder / "broken.keras").write_bytes(b"not a model")
    (folder / "model.xyz").write_bytes(b"")
    models.image().export(folder / "image", verbose=False)

    class Subclassed(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    return [
        (folder / "missing", {}, "no model at"),
        (folder / "empty", {}, "holds no saved_model.pb"),
        (folder / "broken", {}, "TensorFlow cannot load"),
        (folder / "broken.keras", {}, "Keras cannot load"),
        (folder / "model.xyz", {}, "is not a SavedModel directory or a .keras, .h5 or .pb file"),
        (folder / "image", {"signature": "predict"}, "no signature 'predict'; it has .*'serving_default'"),
        (models.image(), {"signature": "x"}, "signature=... chooses"),
        (Subclassed(), {}, r"give \(model, tf.TensorSpec"),
        (lambda x: x, {}, "cannot explain a function"),
        (
            keras.Sequential([keras.Input((3,), batch_size=2), keras.layers.Dense(1)]),
            {},
            "takes exactly 2 examples at once; export the model with a batch of None",
        ),
    ]


def test_models_that_cannot_be_read_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for model, options, message in _refusals(tmp_path):
        with pytest.raises(dx.UnsupportedModelError, match=message) as caught:
            dx.load_model(model, **options)
        assert "\n" not in str(caught.value)


def test_places_that_do_not_exist_are_refused() -> None:
    model = models.image()
    with pytest.raises(dx.ParameterError, match=r"no tensor or layer 'nowhere'; its layers include .*conv"):
        dx.Explainer("saliency", model, inputs="nowhere")
    with pytest.raises(dx.UnsupportedModelError, match="no embedding look-up"):
        dx.Explainer("saliency", model, inputs="embedding")
    with pytest.raises(dx.UnsupportedModelError, match="does not depend on"):
        dx.Explainer("saliency", model, inputs="head", output="conv")
    with pytest.raises(dx.UnsupportedModelError, match="holds no real numbers"):
        dx.Explainer("saliency", models.text(), inputs="ids")
    ids = keras.Input((3,), dtype="int32", name="ids")
    counts = keras.Model(ids, keras.layers.Dense(2)(keras.ops.cast(ids, "float32")))
    with pytest.raises(dx.UnsupportedModelError, match="no input of this model can be explained: ids: int32"):
        dx.Explainer("saliency", counts)
    two = keras.Model(model.input, {"a": model.output, "b": model.get_layer("conv").output})
    with pytest.raises(dx.ParameterError, match=r"several outputs; choose one with output=...: a, b"):
        dx.Explainer("saliency", two)
