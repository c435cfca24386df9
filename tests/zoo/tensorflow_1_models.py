"""SavedModels and frozen graphs as TensorFlow 1 wrote them: built in its graph mode, saved from a session."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.zoo.member import Member


@dataclasses.dataclass(eq=False)
class Saved:
    """A model on disk; `function` computes the output from the tensor `start`, for a call as its owner makes it."""

    folder: Any
    path: Path
    function: Any
    table: Any = None  # of the embedding


def _variable(name: str, shape: list[int], rng: Any) -> Any:
    import tensorflow as tf

    return tf.compat.v1.get_variable(name, initializer=rng.normal(0, 0.5, shape).astype(np.float32))


def _dense(rng: Any) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    x = tf.compat.v1.placeholder(tf.float32, [None, 6], "x")
    y = tf.nn.relu(tf.matmul(x, _variable("kernel", [6, 5], rng)))
    return x, x, tf.matmul(y, _variable("head", [5, 2], rng), name="logits")


def _pictures(rng: Any) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    x = tf.compat.v1.placeholder(tf.float32, [None, 6, 6, 3], "x")
    y = tf.nn.conv2d(x, _variable("kernel", [3, 3, 3, 4], rng), 1, "SAME")
    statistics = [rng.uniform(0.5, 1, 4).astype(np.float32) for _ in range(4)]
    y = tf.compat.v1.nn.fused_batch_norm(y, *statistics, is_training=False)[0]
    y = tf.reduce_mean(tf.nn.max_pool2d(tf.nn.relu(y), 2, 2, "VALID"), [1, 2])
    return x, x, tf.matmul(y, _variable("head", [4, 2], rng), name="logits")


def _text(rng: Any, old_loop: bool = False) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    ids = tf.compat.v1.placeholder(tf.int32, [None, 4], "ids")
    start = tf.nn.embedding_lookup(_variable("table", [10, 3], rng), ids, name="words")
    kernel = _variable("kernel", [6, 3], rng)
    state, steps = tf.zeros_like(start[:, 0]), tf.transpose(start, [1, 0, 2])
    if old_loop:
        _, state = tf.compat.v1.while_loop(
            lambda i, _: i < 4,
            lambda i, s: (i + 1, tf.tanh(tf.matmul(tf.concat([s, steps[i]], 1), kernel))),
            [0, state],
        )
    else:
        for i in range(4):
            state = tf.nn.relu(tf.matmul(tf.concat([state, steps[i]], 1), kernel))
    return ids, start, tf.matmul(state, _variable("head", [3, 2], rng), name="logits")


def _save(net: Callable[[Any], tuple[Any, Any, Any]], frozen: bool, old_control_flow: bool = False) -> Saved:
    """The net as a SavedModel or a frozen graph, and as a function that TensorFlow 2 differentiates."""
    import tensorflow as tf

    v1, folder = tf.compat.v1, tempfile.TemporaryDirectory()
    path = Path(folder.name, "model.pb" if frozen else "saved_model")
    if old_control_flow:
        v1.disable_control_flow_v2()
    try:
        with v1.Graph().as_default() as graph, v1.Session() as session:
            placeholder, start, output = net(np.random.default_rng(3))
            session.run(v1.global_variables_initializer())
            definition = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [output.op.name])
            tables = session.run([v for v in v1.global_variables() if v.op.name == "table"])
            if not frozen:
                v1.saved_model.simple_save(session, str(path), {placeholder.op.name: placeholder}, {"logits": output})
    finally:
        if old_control_flow:
            v1.enable_control_flow_v2()
    if frozen:
        path.write_bytes(definition.SerializeToString())
    wrapped = v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    function = wrapped.prune(
        wrapped.graph.get_tensor_by_name(start.name), wrapped.graph.get_tensor_by_name(output.name)
    )
    return Saved(folder, path, function, tf.constant(tables[0]) if tables else None)


def _call(model: Saved, inputs: Any) -> Any:
    import tensorflow as tf

    return model.function(inputs if model.table is None else tf.gather(model.table, inputs))


def saved(
    name: str, net: Any, shape: tuple[int, ...], is_text: bool = False, old_loop: bool = False, **options: Any
) -> list[Member]:
    """The net as a SavedModel and as a frozen graph."""

    def xs(rng: Any) -> Any:
        return (
            rng.integers(0, 10, (2, *shape)).astype(np.int32)
            if is_text
            else rng.normal(size=(2, *shape)).astype(np.float32)
        )

    return [
        Member(
            f"{name}, {kind}",
            functools.partial(_save, net, frozen, old_loop),
            xs,
            call=_call,
            entries=lambda model: [0] if model.table is None else [model.table],
            explained=lambda model: model.path,
            formats={},
            has_keras_activations=False,
            **options,
        )
        for kind, frozen in (("SavedModel", False), ("frozen graph", True))
    ]


TENSORFLOW_1 = [
    *saved("dense net", _dense, (6,)),
    *saved("picture net", _pictures, (6, 6, 3)),
    *saved("text net", _text, (4,), is_text=True),
    *saved(
        "text net, old loop",
        functools.partial(_text, old_loop=True),
        (4,),
        is_text=True,
        old_loop=True,
        refused={"every": "old loop"},
    ),
]
