"""Frozen graphs: placeholders are the inputs, tensors that nothing reads the outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tb_deepexplain as dx
from tests.closeness import assert_maps_close
from tests.graph.loading.comparison import RNG, SPEC, X, assert_same_model

v1 = tf.compat.v1


def _freeze(function: Any, path: Path) -> Path:
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    return path


@pytest.mark.filterwarnings("ignore:the explained output is a softmax")
def test_a_frozen_function(tmp_path: Path) -> None:
    large = tf.Variable(RNG.normal(size=(3, 9000)), dtype=tf.float32)
    small = tf.Variable(RNG.normal(size=(9000, 2)) / 90, dtype=tf.float32)
    plain = lambda x: tf.nn.softmax(tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x) @ large @ small)  # noqa: E731
    path = _freeze(tf.function(plain, input_signature=[SPEC]), tmp_path / "frozen.pb")
    graph = assert_same_model(path, plain)
    assert [str(spec) for spec in graph.inputs] == ["x: float32 [?, 3]"]
    assert sum(n.ByteSize() for n in graph.view.nodes.values()) < 1e5, "large constants are shared"
    predictions = dx.Explainer("saliency", path).predict(X)
    assert_maps_close(tf.nn.softmax(predictions.outputs), predictions.probabilities)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        x, text = v1.placeholder(tf.float32, [None, 3], name="x"), v1.placeholder(tf.string, [None], name="text")
        v1.placeholder(tf.float32, [None], name="unread")
        h = tf.multiply(x, v1.placeholder_with_default(2.0, [], name="keep"))
        tf.tanh(h, name="first")
        tf.add(h, tf.cast(tf.strings.length(text), tf.float32)[:, None], name="second")
        tf.constant(1.0, name="alone")
        (tmp_path / "graph.pbtxt").write_text(str(graph.as_graph_def()))
    loaded = dx.load_model(tmp_path / "graph.pbtxt")
    assert repr(loaded).endswith("x: float32 [?, 3]; text: string [?] -> first, second)")
    xs = {"x": X, "text": np.array(["a", "bb", "", "cccc"])}
    with pytest.raises(dx.ParameterError, match=r"name one as output: first, second"):
        dx.Explainer("saliency", loaded)
    outputs = dx.Explainer("saliency", loaded, output="second").predict(xs).outputs
    np.testing.assert_allclose(outputs, 2 * X + np.array([[1], [2], [0], [4]]), rtol=1e-6)
    attributions = dx.explain("saliency", loaded, xs, output="first", target=0)["x"]
    np.testing.assert_allclose(attributions[:, 0], 2 - 2 * np.tanh(2 * X[:, 0]) ** 2, rtol=1e-4)


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.pb").write_bytes(b"noise")
    (tmp_path / "empty.pb").write_bytes(b"")
    with tf.Graph().as_default() as graph:
        tf.constant(1.0) + 1
        (tmp_path / "constant.pb").write_bytes(graph.as_graph_def().SerializeToString())
    for name, message in {
        "noise": "holds no GraphDef",
        "empty": "GraphDef without nodes",
        "constant": "nothing in this graph depends on",
    }.items():
        with pytest.raises(dx.UnsupportedModelError, match=message) as caught:
            dx.load_model(tmp_path / f"{name}.pb")
        assert "\n" not in str(caught.value)
