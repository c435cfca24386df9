"""Keras 3 and Keras 2 model objects: the graph computes what the model computes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tb_deepexplain as dx
from tests import models
from tests.graph.loading import keras_2_models
from tests.graph.loading.comparison import RNG, SPEC, X, assert_same_model

pytestmark = pytest.mark.filterwarnings("ignore:the explained output is a softmax")


def test_compiled_models() -> None:
    model = models.sequential()
    model.compile(loss="mse", jit_compile=True)
    x = RNG.normal(size=(4, 10)).astype(np.float32)
    assert_same_model(model, model, x)
    call = tf.function(lambda x: model(x), jit_compile=True)
    assert_same_model((call, tf.TensorSpec([None, 10])), model, x)


def _subclassed(package: Any) -> Any:
    class Subclassed(package.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.drop = package.layers.Dense(2, "tanh"), package.layers.Dropout(0.5)

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.drop(self.dense(inputs["x"] if isinstance(inputs, dict) else inputs), training=training)

    return Subclassed()


def test_a_ragged_tensor_inside() -> None:
    inputs = keras.Input((), dtype="string")
    ids = keras.layers.TextVectorization(vocabulary=["a", "b"], ragged=True)(inputs)
    to_dense = lambda ids: tf.cast(ids.to_tensor(shape=[None, 3]), tf.float32)  # noqa: E731
    counts = keras.layers.Lambda(to_dense, output_shape=(3,), name="counts")(ids)
    model = keras.Model(inputs, keras.layers.Dense(2, "tanh")(counts))
    texts = np.array(["a b", "b"])
    explainer = dx.Explainer("gradient_x_input", model, inputs="counts", target=1)
    np.testing.assert_allclose(explainer.predict(texts).outputs, model(tf.constant(texts)), rtol=1e-6)
    assert explainer.run(texts).shape == (2, 3)


def test_several_outputs_of_one_layer() -> None:
    """Keras 3 gives them one name."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    encoder = keras.layers.Dense(2, "tanh", name="encoder")
    model = keras.Model([a, b], [encoder(a), encoder(b), keras.layers.Dense(3, name="head")(a)])
    xs = [RNG.normal(size=(3, 4)).astype(np.float32) for _ in "ab"]
    with pytest.raises(dx.ParameterError, match=r"name one as output: output_0, output_1, head"):
        dx.explain("saliency", model, xs)
    for i, name in enumerate(("output_0", "output_1", "head")):
        explainer = dx.Explainer("saliency", model, output=name, target=0)
        np.testing.assert_allclose(explainer.predict(xs).outputs, model(xs)[i], rtol=1e-5, atol=1e-6)
        assert [np.any(values) for values in explainer.run(xs)] == [i != 1, i == 1]


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("package", [keras, tf_keras])
def test_subclassed_models_that_were_called(package: Any, by_name: bool) -> None:
    model = _subclassed(package)
    specs = {"x": SPEC} if by_name else SPEC
    with pytest.raises(dx.UnsupportedModelError, match="does not say what it reads"):
        dx.load_model(model)
    plain = lambda x: model({"x": x} if by_name else x, training=False)  # noqa: E731
    plain(X)
    for form in (model, (model, specs)):
        assert assert_same_model(form, plain).inputs[0].shape == (None, 3)
    with pytest.raises(dx.UnsupportedModelError, match=r"cannot be called with float32 \(None, 5\): "):
        dx.load_model((model, {"x": tf.TensorSpec([None, 5])}))


def test_why_a_subclassed_model_does_not_say_what_it_reads() -> None:
    class Branching(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(x) if tf.reduce_sum(x) > 0 else -self.dense(x)

    class Traced(Branching):
        call = tf.function(Branching.call)

    class Summing(tf_keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = tf_keras.layers.Dense(2)

        def call(self, x: Any, y: Any) -> Any:
            return self.dense(x) + self.dense(y)

    model = Branching()
    with pytest.raises(dx.UnsupportedModelError, match="was never called, and does not say"):
        dx.load_model(model)
    model(X)
    reason = "`if`, `for` or `while` depends on the values of a tensor; decorate that function with @tf.function"
    with pytest.raises(dx.UnsupportedModelError, match=f"was called, but Keras could not trace it, .* {reason}"):
        dx.load_model(model)
    with pytest.raises(dx.UnsupportedModelError, match=f"cannot be called with .*: Python's {reason}"):
        dx.load_model((model, SPEC))
    traced = Traced()
    traced(X)
    assert_same_model((traced, SPEC), traced)
    two = Summing()
    two(X, X)
    with pytest.raises(dx.UnsupportedModelError, match="was called with 2 arguments: give a function of one dict"):
        dx.load_model(two)


@pytest.mark.parametrize("base", ["Sequential", "Model"])
@pytest.mark.parametrize("package", [keras, tf_keras])
def test_a_subclass_that_overrides_call(package: Any, base: str) -> None:
    class Functional(getattr(package, base)):  # type: ignore[misc] # the name of Keras' internal class
        def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(x) * 10.0 + 1.0

    dense = package.layers.Dense(2)
    if base == "Model":
        inputs = package.Input((3,))
        model = Functional(inputs=inputs, outputs=dense(inputs))
    else:
        model = Functional([package.Input((3,)), dense])
    assert_same_model(model, lambda x: 10 * dense(x) + 1)


@pytest.mark.filterwarnings("ignore::UserWarning")  # for maps of zeros
def test_keras_2_models() -> None:
    sequential = tf_keras.Sequential(
        [tf_keras.Input((3,)), tf_keras.layers.Dense(4, "relu", name="inner"), tf_keras.layers.Dense(2)]
    )
    assert_same_model(sequential, sequential)
    inner = tf_keras.Model(sequential.inputs, sequential.get_layer("inner").output)
    assert_same_model(sequential, inner, output="inner")
    nested = keras_2_models.functional(nested=True)
    assert_same_model(nested, nested)
    assert_same_model(nested, nested.get_layer("base"), output="base")


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(dx.UnsupportedModelError, match=r"Keras 3 model .* runs on jax: set KERAS_BACKEND=tensorflow"):
        dx.load_model(models.sequential())


def test_ragged_inputs_are_refused() -> None:
    with pytest.raises(dx.UnsupportedModelError, match="takes sparse or ragged tensors"):
        dx.load_model(tf_keras.Sequential([tf_keras.Input((None,), ragged=True)]))


def test_keras_models_of_dicts_take_no_list() -> None:
    """The order of a dict is Keras', not the caller's."""
    later, earlier = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    functional = keras.Model({"b": later, "a": earlier}, keras.layers.Subtract()([later, earlier]))

    class Subclassed(keras.Model):
        def call(self, xs: Any) -> Any:
            return xs["b"] - xs["a"]

    for model in (functional, (Subclassed(), {"b": SPEC, "a": SPEC})):
        maps = dx.explain("gradient_x_input", model, {"b": X, "a": 2 * X}, target=0)
        np.testing.assert_allclose([maps["b"][:, 0], maps["a"][:, 0]], [X[:, 0], -2 * X[:, 0]])
        with pytest.raises(dx.InputError, match="by name: give a dict"):
            dx.explain("gradient_x_input", model, [X, 2 * X], target=0)


def test_inputs_of_nested_dicts_have_the_innermost_names() -> None:
    class Nested(keras.Model):
        def call(self, xs: Any) -> Any:
            return xs["u"]["v"] - xs["u"]["x"] * xs["w"]

    model = Nested()
    model({"u": {"v": X, "x": X}, "w": X})
    for form in (model, (Nested(), {"u": {"v": SPEC, "x": SPEC}, "w": SPEC})):
        graph = dx.load_model(form)
        assert [spec.name for spec in graph.inputs] == ["v", "x", "w"]
        maps = dx.explain("gradient_x_input", graph, {"v": X, "x": 2 * X, "w": 3 * X}, target=0)
        np.testing.assert_allclose(maps["v"][:, 0], X[:, 0])
        nested = {"u": {"v": X, "x": X}, "w": X}
        for xs in (nested, tf.data.Dataset.from_tensor_slices(nested).batch(2)):
            with pytest.raises(dx.InputError, match=r"v: .*; x: .*; w: .*, by these names: give a flat dict"):
                dx.explain("saliency", graph, xs, target=0)

    class Twice(keras.Model):
        def call(self, xs: Any) -> Any:
            return xs["u"]["v"] - xs["w"]["v"]

    twice = dx.load_model((Twice(), {"u": {"v": SPEC}, "w": {"v": SPEC}}))
    assert [spec.name for spec in twice.inputs] == ["input_0", "input_1"]
