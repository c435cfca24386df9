"""Functions, modules and callables: each computes in the graph what it computes in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests.graph.loading.comparison import SPEC, WEIGHTS, X, assert_same_model


class Net(tf.Module):
    def __init__(self) -> None:
        super().__init__(name="net")
        self.w = tf.Variable(WEIGHTS)

    @tf.function
    def score(self, x: Any) -> Any:
        return tf.tanh(x @ self.w)

    @tf.function
    def other(self, x: Any) -> Any:
        return x


class CalledNet(Net):
    @tf.function(input_signature=[SPEC])
    def __call__(self, x: Any) -> Any:
        return self.score(x)


def test_functions_with_a_signature() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float64, name="x")])
    def cube(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x**3, lambda: -(x**3))

    x = np.array([[1.0, 2.0, 3.0]])
    attributions = dx.explain("intgrad", cube, x, tolerance=1e-6, target=None, check_batch=False)
    assert attributions.dtype == np.float64
    np.testing.assert_allclose(attributions, x**3, rtol=1e-6)
    slopes = dx.explain("saliency", cube.get_concrete_function(), x, target=None, check_batch=False)
    np.testing.assert_allclose(slopes, 3 * x**2)


def test_functions_that_were_traced_once() -> None:
    net = Net()
    with pytest.raises(dx.UnsupportedModelError, match="no input_signature and was never traced: give"):
        dx.load_model(net.score)
    net.score.get_concrete_function(SPEC)
    assert_same_model(net.score, net.score)
    net.score.get_concrete_function(tf.TensorSpec([None, 7, 3]))
    with pytest.raises(dx.UnsupportedModelError, match=r"was traced for 2 signatures \(.*7, 3.*: give \(function, tf"):
        dx.load_model(net.score)
    assert_same_model((net.score, SPEC), net.score)


def test_modules_by_their_call_or_only_function() -> None:
    net = CalledNet()
    assert_same_model(net, net)
    assert_same_model((net, SPEC), net)
    plain = Net()
    with pytest.raises(
        dx.UnsupportedModelError,
        match=r"Net 'net' has no __call__ that is a tf\.function, and it has other, score: give",
    ):
        dx.load_model(plain)
    plain.score.get_concrete_function(SPEC)
    assert "Net 'net', score" in repr(assert_same_model(plain, plain.score))
    with pytest.raises(dx.UnsupportedModelError, match=r"it has no tf\.function: give"):
        dx.load_model(tf.Module())


def test_saved_modules_without_signatures(tmp_path: Path) -> None:
    net = Net()
    net.score.get_concrete_function(SPEC)
    tf.saved_model.save(net, str(tmp_path / "net"))
    assert_same_model(tmp_path / "net", net.score)
    assert_same_model(tmp_path / "net" / "saved_model.pb", net.score)
    assert_same_model(tf.saved_model.load(str(tmp_path / "net")), net.score)


def test_callables_with_specs() -> None:
    one = lambda x: tf.tanh(x @ WEIGHTS)  # noqa: E731
    assert_same_model((one, SPEC), one)
    assert_same_model((one, [SPEC]), one)
    one.input_signature = [SPEC]
    assert_same_model(one, one)
    by_name = {"a": SPEC, "b": tf.TensorSpec([None, 3])}
    graph = dx.load_model((lambda a, b: a * b, by_name))
    assert [spec.name for spec in graph.inputs] == ["a", "b"]
    attributions = dx.explain("saliency", graph, {"a": X, "b": 2 * X}, target=0)
    np.testing.assert_allclose(attributions["b"][:, 0], abs(X[:, 0]))
    graph = dx.load_model((lambda a, b: a * b, [SPEC, tf.TensorSpec([None, 3], name="y")]))
    np.testing.assert_allclose(dx.explain("saliency", graph, [X, 2 * X], target=0)[1][:, 0], abs(X[:, 0]))


def _add(b: Any, a: Any) -> Any:
    return 2 * tf.reduce_sum(b, 1) + 3 * tf.reduce_sum(a, 1) / (a.shape[1] or 1)


def _add_keyword_only(*, b: Any, a: Any) -> Any:
    return _add(b, a)


def _add_any_keywords(**of: Any) -> Any:
    return _add(**of)


@pytest.mark.parametrize("function", [_add, _add_keyword_only, _add_any_keywords, tf.function(_add)])
@pytest.mark.parametrize("names", ["ba", "ab"])
def test_arguments_by_name_are_in_no_order(function: Any, names: str) -> None:
    specs = {name: tf.TensorSpec([None, None], tf.float32) for name in names}
    xs = {"b": np.ones((2, 2), np.float32), "a": np.ones((2, 3), np.float32)}
    attributions = dx.explain("gradient_x_input", (function, specs), xs)
    np.testing.assert_allclose(attributions["b"], np.full((2, 2), 2))
    np.testing.assert_allclose(attributions["a"], np.ones((2, 3)), rtol=1e-6)


def test_functions_of_a_dict(tmp_path: Path) -> None:
    """Their inputs have the names of the keys."""
    specs = {"b": SPEC, "a": tf.TensorSpec([None, 3])}

    class Difference(tf.Module):
        @tf.function(input_signature=[specs])
        def __call__(self, features: Any) -> Any:
            return features["a"] ** 2 - features["b"]

    module = Difference()
    tf.saved_model.save(module, str(tmp_path / "saved"))
    restored = tf.saved_model.load(str(tmp_path / "saved")).__call__
    plain = lambda features: features["a"] ** 2 - features["b"]  # noqa: E731
    for form in (module, module.__call__, restored, (plain, specs), (plain, [specs])):
        graph = dx.load_model(form)
        assert [spec.name for spec in graph.inputs] == ["a", "b"]
        attributions = dx.explain("gradient_x_input", graph, {"a": X, "b": 2 * X}, target=0)
        np.testing.assert_allclose(attributions["a"][:, 0], 2 * X[:, 0] ** 2, rtol=1e-6)
        with pytest.raises(dx.InputError, match="by name: give a dict"):
            dx.explain("saliency", graph, [X, X])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (tf.function(lambda x: 1 / 0, input_signature=[SPEC]), "cannot be traced: .*division"),
        ((lambda x: 1 / 0, SPEC), "cannot be called with float32 .*: .*division"),
        ((lambda x: x, [None, 3]), r"cannot explain \(function, NoneType, int\): give \(function, tf.TensorSpec"),
        ((1, SPEC), r"cannot explain \(int, TensorSpec\)"),
        (
            tf.function(lambda x: x.to_tensor(), input_signature=[tf.RaggedTensorSpec([None, None], tf.float32)]),
            "takes a RaggedTensor: wrap it",
        ),
        (
            tf.function(lambda x, t: x * t, input_signature=[SPEC, tf.TensorSpec([])]),
            r"input t \(float32\) is a single value",
        ),
        (tf.function(lambda x: x, input_signature=[tf.TensorSpec(None)]), "is of unknown rank"),
        ((lambda x: tf.RaggedTensor.from_tensor(x), SPEC), "returns a RaggedTensor: give a function that"),
        (tf.function(lambda: tf.zeros([3]), input_signature=[]), "takes no tensor"),
        ((lambda x: None, SPEC), "returns no tensor: give a function"),
        (
            (tf.abs, tf.TensorSpec([None, 3], tf.complex64)),
            r"x: complex64 .* is complex: wrap the model in a function of real",
        ),
    ],
    ids=[
        "fails when traced",
        "fails when called",
        "specs of other types",
        "not callable",
        "ragged",
        "single value",
        "unknown rank",
        "ragged output",
        "no input",
        "no output",
        "complex input",
    ],
)
def test_unusable_functions_are_refused(function: Any, message: str) -> None:
    with pytest.raises(dx.UnsupportedModelError, match=message) as caught:
        dx.load_model(function)
    assert "\n" not in str(caught.value)
