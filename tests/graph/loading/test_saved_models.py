"""SavedModels of TensorFlow 2 and TensorFlow 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests import models
from tests.closeness import assert_maps_close
from tests.graph.loading.comparison import RNG, SPEC, WEIGHTS, X, assert_same_model

v1 = tf.compat.v1


def test_strings_and_vocabularies_in_nested_calls(tmp_path: Path) -> None:
    class Texts(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            initializer = tf.lookup.KeyValueTensorInitializer(models.VOCABULARY, tf.range(1, 7, dtype=tf.int64))
            self.lookup = tf.lookup.StaticHashTable(initializer, 0)
            self.table = tf.Variable(RNG.normal(size=(7, 2)), dtype=tf.float32)

        @tf.function
        def ids(self, text: Any) -> Any:
            return self.lookup.lookup(tf.strings.split(text).to_tensor(shape=[None, 4]))

        @tf.function(jit_compile=True)
        def pool(self, embedded: Any) -> Any:
            return tf.reduce_mean(tf.tanh(embedded), 1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, text: Any) -> Any:
            return {"score": self.pool(tf.gather(self.table, self.ids(text))), "nothing": None}

    texts, module = np.array(["a dull film", "great", "not the film unheardof"]), Texts()
    tf.saved_model.save(module, str(tmp_path))
    for form in (module, tmp_path):
        graph = dx.load_model(form)
        assert list(graph.outputs) == ["score"]
        explainer = dx.Explainer("gradient_x_input", graph, target=1)
        assert_maps_close(explainer.predict(texts).outputs, module(tf.constant(texts))["score"])
        embedded = module.table.numpy()[module.ids(tf.constant(texts))]
        expected = embedded * (1 - np.tanh(embedded) ** 2) / 4 * [0, 1]
        assert_maps_close(explainer.run(texts), expected.sum(-1))


def test_signatures_are_chosen_by_name(tmp_path: Path) -> None:
    signatures = {
        name: tf.function(lambda x, factor=factor: {"y": factor * tf.tanh(x @ WEIGHTS)}, input_signature=[SPEC])
        for name, factor in {"once": 1.0, "twice": 2.0}.items()
    }
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures=signatures)
    with pytest.raises(
        dx.UnsupportedModelError, match=r"it has 'once', 'twice'; choose one with load_model\(model, signature=\.\.\.\)"
    ):
        dx.load_model(tmp_path)
    for loaded in (tmp_path, tf.saved_model.load(str(tmp_path))):
        assert_same_model(dx.load_model(loaded, signature="twice"), lambda x: 2 * tf.tanh(x @ WEIGHTS))


def _save_with_tensorflow_1(path: Path, feature: str) -> tuple[np.ndarray, np.ndarray]:
    """Write a SavedModel as TensorFlow 1 does; its output for X, and the gradient of unit 1, in a session."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], name="Placeholder_7")
        keep = v1.placeholder_with_default(1.0, [], name="keep")
        w = v1.get_variable("w", initializer=tf.constant(WEIGHTS), use_resource=feature != "reference variables")
        y = tf.tanh(x @ w * keep)
        if feature == "cond":
            y = v1.cond(tf.reduce_sum(y) > 0, lambda: y * y, lambda: -y)
        if feature == "while_loop":
            y = v1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y) * y), (0, y))[1]
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        if feature == "several graphs":
            builder.add_meta_graph(["train"])
        builder.save()
        output, gradient = session.run([y, tf.gradients(y[:, 1], x)[0]], {x: X})
    return output, gradient


@pytest.mark.parametrize("feature", ["plain", "reference variables", "cond", "several graphs", "while_loop"])
def test_tensorflow_1_saved_models(feature: str, tmp_path: Path) -> None:
    v1.disable_control_flow_v2()
    try:
        output, gradient = _save_with_tensorflow_1(tmp_path / "saved", feature)
    finally:
        v1.enable_control_flow_v2()
    if feature == "while_loop":
        with pytest.raises(
            dx.UnsupportedModelError, match=r"a loop of TensorFlow 1, 'while/Enter.*export the model again"
        ):
            dx.load_model(tmp_path / "saved")
        return
    graph = dx.load_model(tmp_path / "saved")
    assert repr(graph).endswith("x: float32 [?, 3] -> y)")
    assert not {n.op for n in graph.view.nodes.values()} & {"PlaceholderWithDefault"}
    assert_maps_close(dx.Explainer("saliency", graph).predict(X).outputs, output)
    assert_maps_close(dx.explain("saliency", graph, X, target=1), abs(gradient))


def test_vocabularies_and_sparse_columns_of_tensorflow_1(tmp_path: Path) -> None:
    """As Estimators export them: a table that is filled on loading, and one look-up for each distinct id of a batch."""
    with tf.Graph().as_default(), v1.Session() as session:
        text = v1.placeholder(tf.string, [None], name="text")
        words = v1.string_split(text)
        initializer = tf.lookup.KeyValueTensorInitializer(["a", "dull", "film"], tf.range(3, dtype=tf.int64))
        ids = tf.lookup.StaticVocabularyTable(initializer, 1).lookup(words.values)
        table = v1.get_variable("table", initializer=tf.constant(RNG.normal(size=(4, 2)), tf.float32))
        sparse = tf.SparseTensor(words.indices, ids, words.dense_shape)
        pooled = tf.nn.embedding_lookup_sparse(table, sparse, None, combiner="mean", name="pooled")
        score = tf.tanh(pooled)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        main_op = v1.tables_initializer()
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"text": text}, {"score": score}, main_op)
        texts = np.array(["a dull film", "film film", "dull zebra"])
        output, rows = session.run([score, pooled], {text: texts})
    graph = dx.load_model(tmp_path / "saved")
    explainer = dx.Explainer("gradient_x_input", graph)  # enters at what each text is pooled into
    assert explainer.submodel.cut.entry_tensors[0].startswith("pooled")
    assert_maps_close(explainer.predict(texts).outputs, output)
    expected = (rows * (1 - np.tanh(rows) ** 2))[:, 1]  # a pooled text is one feature
    assert_maps_close(explainer.run(texts, target=1), expected)
