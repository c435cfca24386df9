"""Where a model is cut: embeddings, inner layers and named tensors as entries; logits or another output."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tests import models
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype(np.float32)
PICTURES = RNG.normal(size=(5, 8, 8, 3)).astype(np.float32)
IDS = np.array([[3, 4, 5, 0, 0], [2, 0, 0, 0, 0], [7, 6, 5, 4, 3]])
STRINGS = np.array(["a great film", "dull", "not the dull film unheardof"])
TWO_INPUTS = {"numbers": RNG.normal(size=(4, 4)).astype(np.float32), "ids": RNG.integers(0, 10, (4, 6))}


# Entry tensors


@pytest.mark.parametrize("strings", [False, True])
def test_text_is_entered_at_its_embedding_and_keeps_its_mask(strings: bool) -> None:
    model, xs = models.text(strings=strings), STRINGS if strings else IDS
    result = dx.explain("gradient_x_input", model, xs, target=1, return_result=True, batch_size=2)
    embedding, lstm, head = (model.get_layer(n) for n in ("embedding", "lstm", "head"))
    ids = tf.constant(IDS)
    if strings:
        ids = next(layer for layer in model.layers if "vectorization" in layer.name)(tf.constant(STRINGS))
    embedded = tf.gather(embedding.embeddings, ids)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        logits = lstm(embedded, mask=ids != 0) @ head.kernel + head.bias
        score = logits[:, 1]
    expected = (tape.gradient(score, embedded) * embedded).numpy()
    assert_maps_close(result.attributions, expected.sum(-1) if strings else expected)
    assert_maps_close(result.tokens, expected.sum(-1))
    assert not result.tokens[ids.numpy() == 0].any(), "padding must get nothing"
    np.testing.assert_array_equal(dx.Explainer("saliency", model).predict(xs).token_ids, ids)


def test_an_input_of_ids_is_its_embedding() -> None:
    by_name, default = (dx.explain("saliency", models.text(), IDS, inputs=inputs) for inputs in ("ids", None))
    np.testing.assert_array_equal(by_name, default)


@pytest.mark.filterwarnings("ignore:the explained output is a softmax")
def test_inner_layers_can_be_entries_and_output() -> None:
    model = models.image()
    inner = keras.Model(model.input, model.get_layer("norm").output)
    hidden = np.asarray(inner(PICTURES))
    result = dx.explain("gradient_x_input", model, PICTURES, inputs="relu", output="head", target=2, return_result=True)
    assert result.attributions.shape == hidden.shape
    assert not result.attributions[hidden <= 0].any()
    assert_maps_close(dx.Explainer("saliency", model, output="norm").predict(PICTURES).outputs, hidden)
    with pytest.raises(dx.UnsupportedModelError, match="acts on the output through"):
        dx.explain("saliency", model, PICTURES, inputs=["image", "conv"], target=0)


def test_one_input_of_two_can_be_explained() -> None:
    model = models.two_inputs()
    alone, both = (dx.explain("gradient_x_input", model, TWO_INPUTS, inputs=i, target=0) for i in ("numbers", None))
    assert_maps_close(alone["numbers"], both["numbers"])
    assert both["ids"].shape == (4, 6, 5)


def test_an_input_that_the_output_ignores_has_a_map_of_zeros() -> None:
    used, ignored = keras.Input((4,), name="used"), keras.Input((3,), name="ignored")
    model = keras.Model([used, ignored], layers.Dense(2)(used))
    xs = [np.ones((2, 4), np.float32), np.ones((2, 3), np.float32)]
    for method in dx.methods():
        of_used, of_ignored = dx.explain(method.id, model, xs, target=0)
        assert of_used.any()
        assert of_ignored.shape == (2, 3)
        assert not of_ignored.any()


def test_layers_are_distinguished_from_numbered_scopes() -> None:
    """Keras numbers layers as TensorFlow numbers scopes: `dense_1` is a layer, and a scope of layer `dense`."""
    hidden = [layers.Dense(5, "tanh", name="dense"), layers.Dense(5, "tanh", name="dense_1")]
    model = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(2)])
    for name in ("dense", "dense_1"):
        expected = keras.Model(model.inputs, model.get_layer(name).output)(X)
        assert_maps_close(dx.Explainer("saliency", model, output=name).predict(X).outputs, expected)


def test_an_entry_tensor_is_named_once() -> None:
    function = tf.function(lambda x: tf.reduce_sum(x, 1), input_signature=[tf.TensorSpec([None, 4], name="i")])
    with pytest.raises(dx.ParameterError, match="is named twice"):
        dx.Explainer("saliency", function, inputs=["i", "i"])


def test_unusable_entries_and_outputs_are_refused() -> None:
    model = models.image()
    with pytest.raises(dx.ParameterError, match=r"no tensor or layer 'nowhere'; its layers include .*conv"):
        dx.Explainer("saliency", model, inputs="nowhere")
    with pytest.raises(
        dx.ParameterError, match=r"no output, layer or tensor 'hed'; its outputs are head, its layers .*"
    ):
        dx.Explainer("saliency", model, output="hed")
    with pytest.raises(dx.ParameterError, match="inputs: got an empty list"):
        dx.Explainer("saliency", model, inputs=[])
    with pytest.raises(dx.UnsupportedModelError, match="no embedding look-up"):
        dx.Explainer("saliency", model, inputs="embedding")
    with pytest.raises(dx.UnsupportedModelError, match="does not depend on"):
        dx.Explainer("saliency", model, inputs="head", output="conv")
    constant = tf.function(
        lambda ids: tf.zeros([tf.shape(ids)[0], 2]), input_signature=[tf.TensorSpec([None, 3], tf.int32, "ids")]
    )
    with pytest.raises(
        dx.UnsupportedModelError, match=r"no input .* can be explained \(ids: int32.*depends on none of them"
    ):
        dx.Explainer("saliency", constant)
    two = keras.Model(model.input, {"a": model.output, "b": model.get_layer("conv").output})
    with pytest.raises(dx.ParameterError, match=r"several outputs; name one as output: a, b"):
        dx.Explainer("saliency", two)


# Logits


@pytest.mark.filterwarnings("ignore:the explained output is a softmax")
@pytest.mark.parametrize(
    ("activation", "has_logits"), [("softmax", True), ("sigmoid", True), ("linear", False), ("tanh", False)]
)
def test_the_output_is_the_logits_before_softmax_and_sigmoid(activation: str, has_logits: bool) -> None:
    model = models.image(activation=activation)
    expected = np.asarray(model(PICTURES))
    predictions = dx.Explainer("saliency", model).predict(PICTURES)
    assert (predictions.probabilities is not None) == has_logits
    assert (abs(predictions.outputs - expected).max() > 0.01) == has_logits
    model_output = dx.Explainer("saliency", model, output="output").predict(PICTURES)
    assert_maps_close(model_output.outputs, expected)


HEADS = {
    "log": lambda z: layers.Activation("log_softmax")(z),
    "reshaped": lambda z: layers.Reshape((6,))(layers.Softmax()(layers.Reshape((2, 3))(z))),
    "axis": lambda z: layers.Softmax(axis=1)(layers.Reshape((2, 3))(z)),
    "permuted": lambda z: layers.Permute((2, 1))(layers.Softmax()(layers.Reshape((2, 3))(z))),
    "sigmoid": lambda z: layers.Reshape((3, 2))(layers.Activation("sigmoid")(z)),
}
SOFTMAX_OVER_AXIS_1 = ("axis", "permuted")


@pytest.mark.parametrize("head", HEADS)
def test_logits_before_a_softmax_of_any_shape(head: str) -> None:
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    model = keras.Model(x, HEADS[head](layers.Dense(6)(x)))
    explainer = dx.Explainer("gradient_x_input", model)
    predictions, expected = explainer.predict(X), model(X)
    assert predictions.outputs.shape == expected.shape
    if head == "reshaped":
        probabilities = tf.reshape(tf.nn.softmax(predictions.outputs.reshape(6, 2, 3)), (6, 6))
    elif head == "sigmoid":
        probabilities = tf.sigmoid(predictions.outputs)
    else:
        probabilities = tf.nn.softmax(predictions.outputs, 1 if head in SOFTMAX_OVER_AXIS_1 else -1)
    assert_maps_close(probabilities, tf.exp(expected) if head == "log" else expected)
    assert_maps_close(predictions.probabilities, probabilities)
    ys = np.random.default_rng(1).normal(size=expected.shape)  # in the shape of the model's output
    kernel = model.layers[1].kernel.numpy()
    of_logits = (ys.transpose(0, 2, 1) if head == "permuted" else ys).reshape(6, 6)
    assert_maps_close(explainer.run(X, ys=ys), X * (of_logits @ kernel.T))


@pytest.mark.parametrize("squeeze", [lambda t: keras.ops.squeeze(t, -1), lambda t: layers.Reshape(())(t)])
def test_a_squeezed_sigmoid_has_logits_classes_and_weights(squeeze: Any) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, squeeze(layers.Dense(1, activation="sigmoid")(x)))
    explainer = dx.Explainer("saliency", model)
    predictions = explainer.predict(X)
    assert predictions.outputs.shape == (6,)
    np.testing.assert_array_equal(predictions.classes, (model(X).numpy() > 0.5).astype(int))
    assert explainer.run(X, ys=np.ones(6)).shape == X.shape
    assert dx.Explainer("saliency", model, output="output").predict(X).classes is None


@pytest.fixture(scope="module")
def two_heads() -> keras.Model:
    x = keras.Input((4,), name="x")
    hidden = layers.Dense(5, "relu", name="dense")(x)
    heads = {"kind": layers.Dense(3, "softmax", name="kinds")(hidden), "size": layers.Dense(1, name="sizes")(hidden)}
    return keras.Model(x, heads)


def test_a_named_head_means_its_logits(two_heads: keras.Model) -> None:
    probabilities = two_heads(X)["kind"].numpy()
    for name in ("kind", "kinds"):  # of the output, of its layer
        predictions = dx.Explainer("saliency", two_heads, output=name).predict(X)
        assert_maps_close(predictions.probabilities, probabilities)
        shift = predictions.outputs - np.log(probabilities)
        np.testing.assert_allclose(shift, shift[:, :1].repeat(3, 1), atol=1e-5)
        assert abs(predictions.outputs - probabilities).max() > 0.1
        as_it_is = dx.Explainer("saliency", two_heads, output=name, logits=False).predict(X)
        assert_maps_close(as_it_is.outputs, probabilities)
    assert dx.Explainer("saliency", two_heads, output="size").predict(X).outputs.shape == (len(X), 1)


@pytest.mark.filterwarnings("ignore:the explained output is a softmax")
def test_a_tensor_name_outlives_the_load(two_heads: keras.Model) -> None:
    """Keras numbers the scope of the model anew whenever it is loaded."""
    first, second = dx.load_model(two_heads), dx.load_model(two_heads)
    (name,) = (node for node in first.view.nodes if node.endswith("/Softmax"))
    assert name not in second.view.nodes
    for model in (first, second, two_heads):
        outputs = dx.Explainer("saliency", model, output=f"{name}:0").predict(X).outputs  # exactly that tensor
        assert_maps_close(outputs, two_heads(X)["kind"].numpy())
        of_logits = dx.Explainer("saliency", model, output=name, logits=True).predict(X)
        assert_maps_close(of_logits.probabilities, outputs)
    with pytest.raises(dx.ParameterError, match="no output, layer or tensor"):
        dx.Explainer("saliency", second, output="functional_9/dense_7/Relu")
