"""Signatures that take serialized tf.Examples, as servers use them → the same models with the parsed features as inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.graph_view import FLOAT_TYPES, RESHAPING_OPS, GraphView, node_name, tensor_name
from tb_deepexplain.graph.loading.functions import from_concrete
from tb_deepexplain.graph.model_graph import ModelGraph

_OPS_BEFORE_PARSING = RESHAPING_OPS | {"PlaceholderWithDefault"}


@dataclasses.dataclass(frozen=True)
class _Feature:
    """A parsed feature that the output depends on."""

    name: str
    spec: Any  # tf.TensorSpec of its values, batch included
    tensors: tuple[str, ...]  # dense: its values, or what they are cast to; sparse: indices, values, shape
    default: Any = None  # of a dense feature that an example may lack: an array without the batch

    def feeds(self, values: Any) -> dict[str, Any]:
        """Values of the feature's tensors for these values of the feature, `[B, ...]`."""
        if len(self.tensors) == 3:  # all examples of a batch have the same length, so every position has a value
            indices = tf.where(tf.fill(tf.shape(values), True))
            parts = (indices, tf.reshape(values, [-1]), tf.shape(values, tf.int64))
            return dict(zip(self.tensors, parts, strict=True))
        return dict.fromkeys(self.tensors, values)


def enter_at_features(graph: ModelGraph) -> ModelGraph:
    """The model with its parsed features as inputs, if its only input is serialized tf.Examples; else `graph` itself.

    Integer features that are only cast to real numbers become real-valued inputs, so that they can be explained. An
    example may lack a feature for which the parser has a default. UnsupportedModelError for ragged features.
    """
    parser = _find_parser(graph)
    if parser is None:
        return graph
    outputs = list(graph.outputs.values())
    features = _find_features(graph.view, parser, outputs)
    if not features:
        raise UnsupportedModelError(
            f"{graph.source}: the output depends on none of the features that the model parses; choose another signature"
        )

    def call(*values: Any) -> dict[str, Any]:
        feeds = {name: t for feature, x in zip(features, values, strict=True) for name, t in feature.feeds(x).items()}
        # Some models use the serialized examples to learn the size of the batch.
        feeds[tensor_name(graph.inputs[0].node)] = tf.fill([tf.shape(values[0])[0]], "")
        return dict(zip(graph.outputs, graph.import_graph(feeds).fetch(outputs), strict=True))

    traced = tf.function(call, autograph=False).get_concrete_function(*(feature.spec for feature in features))
    defaults = {feature.name: feature.default for feature in features if feature.default is not None}
    names = [feature.name for feature in features]
    return from_concrete(traced, graph.source, keep=graph, names=names).with_input_defaults(defaults)


def _find_parser(graph: ModelGraph) -> Any:
    """The node that parses the model's only input, if there is one."""
    if len(graph.inputs) != 1 or graph.inputs[0].dtype != "string":
        return None
    stack = [graph.inputs[0].node]
    while stack:
        for name in graph.view.consumers.get(f"{stack.pop()}:0", ()):
            node = graph.view.nodes[name]
            if node.op == "ParseExampleV2":
                return node
            if node.op in _OPS_BEFORE_PARSING:
                stack.append(name)
    return None


def _find_features(view: GraphView, parser: Any, outputs: Sequence[str]) -> list[_Feature]:
    """The features that the outputs depend on, in the parser's order.

    The parser's outputs are the indices, the values and the shapes of all sparse features, the values of all dense
    features, and the values and the row splits of all ragged ones.
    """
    needed = view.ancestors(outputs)
    _, _, sparse_keys, dense_keys, ragged_keys, *defaults = view.inputs[parser.name]
    sparse, dense, ragged = (_feature_names(view, keys) for keys in (sparse_keys, dense_keys, ragged_keys))

    def is_used(*outputs: int) -> bool:
        return any(n in needed for i in outputs for n in view.consumers.get(f"{parser.name}:{i}", ()))

    first_dense = 3 * len(sparse)
    first_ragged = first_dense + len(dense)
    if used_ragged := [
        name for i, name in enumerate(ragged) if is_used(first_ragged + i, first_ragged + len(ragged) + i)
    ]:
        raise UnsupportedModelError(
            f"the model parses ragged features ({', '.join(used_ragged)}), which do not fit into a batch; parse them as "
            "FixedLenFeature or VarLenFeature, or choose a signature that takes tensors"
        )
    features = []
    for i, (name, dtype) in enumerate(zip(sparse, parser.attr["sparse_types"].list.type, strict=True)):
        parts = (i, len(sparse) + i, 2 * len(sparse) + i)
        if is_used(*parts):
            spec = tf.TensorSpec([None, None], tf.as_dtype(dtype))
            features.append(_Feature(name, spec, tuple(f"{parser.name}:{part}" for part in parts)))
    dtypes, shapes = parser.attr["Tdense"].list.type, parser.attr["dense_shapes"].list.shape
    for i, (name, dtype, shape, default) in enumerate(zip(dense, dtypes, shapes, defaults, strict=True)):
        if is_used(first_dense + i):
            values = f"{parser.name}:{first_dense + i}"
            features.append(_dense_feature(view, needed, values, name, tf.TensorShape(shape), dtype, default))
    return features


def _dense_feature(
    view: GraphView, needed: Collection[str], values: str, name: str, shape: Any, dtype: int, default: str
) -> _Feature:
    """`values` and `default` are tensors; the feature is entered after a cast to real numbers, if every reader casts."""
    consumers = [view.nodes[n] for n in view.consumers.get(values, ()) if n in needed]
    tensors: tuple[str, ...] = (values,)
    if dtype not in FLOAT_TYPES and all(node.op == "Cast" for node in consumers):
        cast_types = {node.attr["DstT"].type for node in consumers}
        if len(cast_types) == 1 and cast_types <= FLOAT_TYPES:
            dtype, tensors = cast_types.pop(), tuple(tensor_name(node.name) for node in consumers)
    spec = tf.TensorSpec([None, *shape], tf.as_dtype(dtype))
    return _Feature(name, spec, tensors, _full_default(_read_constant(view, default), shape))


def _full_default(default: Any, shape: Any) -> Any:
    """The default in the feature's shape; None if the parser has none, or the feature has no fixed shape."""
    if default is None or not default.size or not shape.is_fully_defined():
        return None
    count = shape.num_elements()
    values = default.reshape(-1)
    return (values if values.size == count else values[0:1].repeat(count)).reshape(shape)


def _feature_names(view: GraphView, tensor: str) -> list[str]:
    names = _read_constant(view, tensor)
    if names is None:
        raise UnsupportedModelError(
            f"the names of the features that the model parses are computed ({tensor}); export it with a fixed feature spec"
        )
    return [name.decode() for name in names.reshape(-1).tolist()]


def _read_constant(view: GraphView, tensor: str) -> Any:
    """The values of a constant, perhaps in another shape; None if the tensor is no constant."""
    node = view.nodes[node_name(tensor)]
    while node.op in ("Identity", "Reshape"):
        node = view.nodes[node_name(view.inputs[node.name][0])]
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
