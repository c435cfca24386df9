"""Models that take serialized tf.Examples, as servers do → the same models from their features on."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.cut import FLOATS, GraphView, node_of, tensor
from tb_deepexplain.graph.loading.functions import from_concrete
from tb_deepexplain.graph.model_graph import ModelGraph

_PASS_THROUGH = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze", "PlaceholderWithDefault"})


@dataclasses.dataclass(frozen=True)
class _Feature:
    """One parsed feature that the output depends on."""

    name: str
    spec: Any  # tf.TensorSpec of its values, the batch included
    tensors: tuple[str, ...]  # dense: its values, or what they are cast to; sparse: indices, values, shape
    default: Any = None  # of a dense one that an example may lack: an array without the batch

    def feeds(self, values: Any) -> dict[str, Any]:
        """What stands for its tensors when its values are these."""
        if len(self.tensors) == 3:  # the examples of a batch have one length: all places are taken
            indices = tf.where(tf.fill(tf.shape(values), True))
            parts = (indices, tf.reshape(values, [-1]), tf.shape(values, tf.int64))
            return dict(zip(self.tensors, parts, strict=True))
        return dict.fromkeys(self.tensors, values)


def behind_parsing(graph: ModelGraph) -> ModelGraph:
    """The model from its parsed features on, where its only input is serialized tf.Examples; else the model itself.

    Integer features of which only real numbers are made become real inputs: they can be explained. An example may lack a
    feature for which the parser has a default. UnsupportedModelError for ragged features, which have no place in a batch.
    """
    found = _parser(graph.view, graph)
    if found is None:
        return graph
    serialized, parse = found
    features = _features(graph.view, parse, list(graph.outputs.values()))
    if not features:
        raise UnsupportedModelError(
            f"{graph.source}: the output depends on none of the features that the model parses; choose another signature"
        )

    def call(*given: Any) -> dict[str, Any]:
        feeds = {name: t for feature, x in zip(features, given, strict=True) for name, t in feature.feeds(x).items()}
        feeds[tensor(serialized)] = tf.fill([tf.shape(given[0])[0]], "")  # some models ask it how large the batch is
        return dict(zip(graph.outputs, graph.place(feeds).fetch(list(graph.outputs.values())), strict=True))

    traced = tf.function(call, autograph=False).get_concrete_function(*(feature.spec for feature in features))
    defaults = {feature.name: feature.default for feature in features if feature.default is not None}
    names = [feature.name for feature in features]
    return from_concrete(traced, graph.source, keep=graph, names=names).with_defaults(defaults)


def _parser(view: GraphView, graph: ModelGraph) -> tuple[str, Any] | None:
    """The only input's node and the node that parses it."""
    if len(graph.inputs) != 1 or graph.inputs[0].dtype != "string":
        return None
    source, reached = graph.inputs[0].node, [graph.inputs[0].node]
    while reached:
        for name in view.consumers.get(f"{reached.pop()}:0", ()):
            node = view.nodes[name]
            if node.op == "ParseExampleV2":
                return source, node
            if node.op in _PASS_THROUGH:
                reached.append(name)
    return None


def _features(view: GraphView, parse: Any, outputs: list[str]) -> list[_Feature]:
    """Those on which the outputs depend, in the parser's order."""
    needed = view.ancestors(outputs)
    _, _, sparse_keys, dense_keys, ragged_keys, *defaults = view.inputs[parse.name]
    sparse, dense, ragged = (_texts(view, keys) for keys in (sparse_keys, dense_keys, ragged_keys))
    used = [any(n in needed for n in view.consumers.get(f"{parse.name}:{i}", ())) for i in range(_count(parse))]
    first_dense, first_ragged = 3 * len(sparse), 3 * len(sparse) + len(dense)
    if lost := [
        name for i, name in enumerate(ragged) if used[first_ragged + i] or used[first_ragged + len(ragged) + i]
    ]:
        raise UnsupportedModelError(
            f"the model parses ragged features ({', '.join(lost)}), which have no place in a batch; parse them as "
            "FixedLenFeature or VarLenFeature, or choose a signature that takes tensors"
        )
    found = []
    for i, (name, kind) in enumerate(zip(sparse, parse.attr["sparse_types"].list.type, strict=True)):
        places = [i, len(sparse) + i, 2 * len(sparse) + i]
        if any(used[place] for place in places):
            spec = tf.TensorSpec([None, None], tf.as_dtype(kind))
            found.append(_Feature(name, spec, tuple(f"{parse.name}:{place}" for place in places)))
    kinds, shapes = parse.attr["Tdense"].list.type, parse.attr["dense_shapes"].list.shape
    for i, (name, kind, shape) in enumerate(zip(dense, kinds, shapes, strict=True)):
        if used[first_dense + i]:
            own = f"{parse.name}:{first_dense + i}"
            found.append(_dense(view, needed, own, name, tf.TensorShape(shape), kind, _constant(view, defaults[i])))
    return found


def _dense(view: GraphView, needed: set[str], own: str, name: str, shape: Any, kind: int, default: Any) -> _Feature:
    readers = [view.nodes[reader] for reader in view.consumers.get(own, ()) if reader in needed]
    cast_to = {reader.attr["DstT"].type for reader in readers if reader.op == "Cast"}
    real = all(reader.op == "Cast" for reader in readers) and len(cast_to) == 1 and cast_to <= FLOATS
    if kind not in FLOATS and real:
        kind, tensors = cast_to.pop(), tuple(tensor(reader.name) for reader in readers)
    else:
        tensors = (own,)
    return _Feature(name, tf.TensorSpec([None, *shape], tf.as_dtype(kind)), tensors, _filled(default, shape))


def _filled(default: Any, shape: Any) -> Any:
    """The default in the feature's shape; None where the parser has none, or the feature any length."""
    if default is None or not default.size or not shape.is_fully_defined():
        return None
    return (
        default.reshape(shape)
        if default.size == shape.num_elements()
        else default.reshape(-1)[0:1].repeat(shape.num_elements()).reshape(shape)
    )


def _count(parse: Any) -> int:
    attr = parse.attr
    kinds = ("Tdense", "ragged_value_types", "ragged_split_types")
    return 3 * len(attr["sparse_types"].list.type) + sum(len(attr[kind].list.type) for kind in kinds)


def _texts(view: GraphView, name: str) -> list[str]:
    found = _constant(view, name)
    if found is None:
        raise UnsupportedModelError(
            f"the names of the features that the model parses are computed ({name}); export it with a fixed feature spec"
        )
    return [text.decode() for text in found.reshape(-1).tolist()]


def _constant(view: GraphView, name: str) -> Any:
    """The values of a constant, whatever their shape; None of anything else."""
    node = view.nodes[node_of(name)]
    while node.op in ("Identity", "Reshape"):
        node = view.nodes[node_of(view.inputs[node.name][0])]
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
