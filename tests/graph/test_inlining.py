"""Inlining: no call is left in the graph, and control flow keeps its gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests.closeness import assert_maps_close
from tests.graph.loading.comparison import SPEC, WEIGHTS, assert_same_model


def _calling(name: str) -> tuple[Any, Any]:
    """(a tf.function with calls that TensorFlow would not inline, the function that it computes)"""
    w = tf.Variable(WEIGHTS)
    plain = lambda x: tf.tanh(x @ w)  # noqa: E731 - one of several alike
    xla = tf.function(plain, jit_compile=True)
    noinline = tf.function(plain, experimental_attributes={"_noinline": True})
    implements = tf.function(lambda x: x * x, experimental_implements="some.kernel")
    outer = {
        "compiled": plain,
        "calls compiled": lambda x: 2 * xla(x),
        "nested": tf.function(lambda x: xla(x) * xla(2 * x), jit_compile=True),
        "in a branch": lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: xla(x), lambda: -xla(x)),
        "in a loop": lambda x: tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, xla(x) * y), (0, xla(x)))[1],
        "noinline": lambda x: noinline(x) * 2,
        "implements": lambda x: xla(implements(x)),
    }[name]
    return tf.function(outer, input_signature=[SPEC], jit_compile=name == "compiled", autograph=False), outer


@pytest.mark.parametrize(
    "name", ["compiled", "calls compiled", "nested", "in a branch", "in a loop", "noinline", "implements"]
)
def test_calls_that_tensorflow_would_keep_are_inlined(name: str) -> None:
    function, outer = _calling(name)
    graph = assert_same_model(function, outer)
    assert not [n.name for n in graph.view.nodes.values() if "PartitionedCall" in n.op]


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x * x, lambda: tf.sin(x)),
        lambda x: tf.switch_case(tf.constant(1), [lambda: x, lambda: x**3]),
        lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y) * x), (0, x))[1],
        lambda x: tf.map_fn(lambda row: row * tf.reduce_sum(row), x),
        lambda x: tf.scan(lambda a, column: a * column, tf.transpose(x))[-1][:, None] * x,
    ],
    ids=["cond", "switch_case", "while_loop", "map_fn", "scan"],
)
def test_control_flow_keeps_its_gradient(body: Any, saved: bool, tmp_path: Path) -> None:
    function = tf.function(body, input_signature=[SPEC], autograph=False)
    if saved:
        tf.saved_model.save(tf.Module(), tmp_path, signatures=function)
    assert_same_model(tmp_path if saved else function, body)


def test_a_function_called_in_a_loop_can_be_explained_twice() -> None:
    """A function gets additional outputs when it is differentiated."""

    @tf.function
    def half(x: Any) -> Any:
        return tf.sin(x)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def model(x: Any) -> Any:
        for _ in tf.range(2):
            x = half(x)
        return x * x

    x = tf.constant([[0.1, 0.2, 0.3]])
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.reduce_sum(model(x))
        assert_maps_close(dx.explain("saliency", model, x, target=None), abs(tape.gradient(score, x)))


def _plan_model(path: Path) -> tuple[Any, Any]:
    """A model that embeds words in a function without control outputs, as Transform's graph is, and its SavedModel."""
    module = tf.Module()
    words = tf.lookup.KeyValueTensorInitializer(["basic", "gold", "free"], tf.constant([1, 2, 3], tf.int64))
    module.table = tf.lookup.StaticHashTable(words, 0)
    module.rows = tf.Variable(tf.reshape(tf.range(12.0), [4, 3]) / 7)
    module.weights = tf.Variable([[1.0], [2.0], [-1.0], [0.5]])
    module.inner = tf.compat.v1.wrap_function(
        lambda age, plan: tf.concat([age, tf.gather(module.rows, module.table.lookup(plan))], 1),
        [tf.TensorSpec([None, 1]), tf.TensorSpec([None], tf.string)],
    )
    specs = [tf.TensorSpec([None, 1], name="age"), tf.TensorSpec([None], tf.string, name="plan")]
    function = tf.function(
        lambda age, plan: {"y": tf.tanh(module.inner(age, plan)) @ module.weights}, input_signature=specs
    )
    tf.saved_model.save(module, path, signatures=function)
    return function, module


@pytest.mark.parametrize("saved", [False, True])
def test_look_ups_of_a_function_that_declares_no_side_effects_keep_their_gradient(saved: bool, tmp_path: Path) -> None:
    function, module = _plan_model(tmp_path)
    age, plan = np.array([[0.3], [-0.2]], np.float32), np.array(["gold", "free"], object)
    rows = module.rows.numpy()[[2, 3]]
    xs = {"age": age, "plan": plan}
    for inputs in (["age"], ["plan"], None):
        maps = dx.explain("gradient_x_input", tmp_path if saved else function, xs, inputs=inputs, target=None)
        expected = {
            "age": age * (1 - np.tanh(age) ** 2),
            "plan": (rows * (1 - np.tanh(rows) ** 2) * [2, -1, 0.5]).sum(1),
        }
        for name, values in expected.items():
            if inputs is None or name in inputs:
                np.testing.assert_allclose(maps[name], values, rtol=1e-5)


def test_a_tensor_that_does_not_depend_on_the_examples_is_refused_by_name(tmp_path: Path) -> None:
    function, _ = _plan_model(tmp_path)
    graph = dx.load_model(function)
    handles = [
        name for name, node in graph.view.nodes.items() if node.op == "Placeholder" and name not in ("age", "plan")
    ]
    assert len(handles) == 3  # the table and two variables
    for name in handles:
        with pytest.raises(dx.UnsupportedModelError, match="the same for all examples"):
            dx.Explainer("integrated_gradients", graph, inputs=[name])
    counted = tf.function(
        lambda x: tf.map_fn(lambda row: row * tf.reduce_sum(row), x), input_signature=[SPEC], autograph=False
    )
    graph = dx.load_model(counted)
    loop = next(name for name, node in graph.view.nodes.items() if "While" in node.op)
    with pytest.raises(dx.UnsupportedModelError, match="does not depend on the values of"):
        dx.Explainer("saliency", graph, inputs=[f"{loop}:0"])  # its counter
