"""Signatures that take serialized tf.Examples, as servers use them → the same models with the parsed features as inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import InputError, UnsupportedModelError
from tb_deepexplain.graph.embedding_lookups import find_lookups
from tb_deepexplain.graph.graph_view import FLOAT_TYPES, RESHAPING_OPS, GraphView, node_name, tensor_name
from tb_deepexplain.graph.input_spec import COLUMN_SCOPE, JOINED_MISSING, SEPARATOR, InputSpec, column_width
from tb_deepexplain.graph.loading.functions import from_concrete
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.graph.origin import Origin

_OPS_BEFORE_PARSING = RESHAPING_OPS | {"PlaceholderWithDefault"}
_BLANK_EXAMPLES = {b"", tf.train.Example(features=tf.train.Features()).SerializeToString()}


@dataclasses.dataclass(frozen=True)
class _Feature:
    """A parsed feature."""

    name: str
    spec: Any  # tf.TensorSpec of its values, batch included
    tensors: tuple[str, ...]  # dense: its values, or what they are cast to; sparse: indices, values, shape
    parsed: tuple[str, ...]  # the same as the parser puts them out
    dtype: Any  # in a tf.Example: string, int64 or float32
    is_used: bool  # whether the output depends on it
    default: Any = None  # of a feature that an example may lack: an array without the batch
    is_column: bool = False  # sparse, and no text: its examples may differ in their number of values

    @property
    def is_sparse(self) -> bool:
        return len(self.tensors) == 3

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec(self.name, self.spec.dtype.name, tuple(self.spec.shape), "", is_sparse=self.is_column)

    def feeds(self, values: Any) -> dict[str, Any]:
        """Values of the feature's tensors for these values of the feature, `[B, ...]`."""
        if not self.is_sparse:
            return dict.fromkeys(self.tensors, values)
        if not self.is_column:  # all examples of a batch have the same length, so every position has a value
            indices = tf.where(tf.fill(tf.shape(values), True))
            parts = (indices, tf.reshape(values, [-1]), tf.shape(values, tf.int64))
            return dict(zip(self.tensors, parts, strict=True))
        with tf.name_scope(COLUMN_SCOPE):
            return dict(zip(self.tensors, _join_and_split(values, self.input_spec), strict=True))

    def to_proto(self, values: np.ndarray) -> tf.train.Feature:
        """The values of one example as a tf.Example holds them; InputError for fractions of an integer feature."""
        flat = values.ravel()
        if self.is_column:
            flat = flat[~self.input_spec.is_missing(flat)]
        if self.dtype == tf.string:
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=map(tf.compat.as_bytes, flat)))
        if self.dtype == tf.float32:
            return tf.train.Feature(float_list=tf.train.FloatList(value=flat))
        if (flat != np.round(flat)).any():
            raise InputError(f"{self.name} holds whole numbers in a tf.Example")
        return tf.train.Feature(int64_list=tf.train.Int64List(value=flat.astype(np.int64)))


def enter_at_features(graph: ModelGraph) -> ModelGraph:
    """The model with its parsed features as inputs, if its only input is serialized tf.Examples; else `graph` itself.

    Integer features that are only cast to real numbers become real-valued inputs, so that they can be explained. An
    example may lack a feature for which the parser has a default, and the values of a sparse feature, unless these are the
    words of a text. Serialized tf.Examples remain welcome: `origin.parse` makes arrays of them. UnsupportedModelError for
    ragged features.
    """
    parser = _find_parser(graph)
    if parser is None:
        return graph
    outputs = list(graph.outputs.values())
    all_features = _find_features(graph.view, parser, outputs)
    features = [feature for feature in all_features if feature.is_used]
    if not features:
        raise UnsupportedModelError(
            f"{graph.source}: the output depends on none of the features that the model parses; choose another signature"
        )

    traced = _trace(graph, features, outputs)
    is_text = _are_texts(traced, features)
    if any(feature.is_sparse for feature in features if not is_text[feature.name]):
        features = [
            feature if not feature.is_sparse or is_text[feature.name] else _as_column(feature) for feature in features
        ]
        traced = _trace(graph, features, outputs)
    defaults = {feature.name: feature.default for feature in features if feature.default is not None}
    columns = [feature.name for feature in features if feature.is_column]
    required = [f for f in all_features if not f.is_used and f.default is None and f.spec.shape[1:].is_fully_defined()]

    def call_model(inputs: Sequence[Any]) -> list[Any]:
        examples = _serialize(features, [np.asarray(x) for x in inputs], required)
        return list((graph.call_model([tf.constant(examples)]) or {}).values())

    origin = Origin(None if graph.origin.call is None else call_model, parse=_make_parser(graph, features))
    return traced.with_origin(origin).with_input_defaults(defaults, columns)


def _trace(graph: ModelGraph, features: Sequence[_Feature], outputs: Sequence[str]) -> ModelGraph:
    """The model with these features as inputs."""

    def call(*values: Any) -> dict[str, Any]:
        feeds = {name: t for feature, x in zip(features, values, strict=True) for name, t in feature.feeds(x).items()}
        # Some models use the serialized examples to learn the size of the batch.
        feeds[tensor_name(graph.inputs[0].node)] = tf.fill([tf.shape(values[0])[0]], "")
        return dict(zip(graph.outputs, graph.import_graph(feeds).fetch(outputs), strict=True))

    traced = tf.function(call, autograph=False).get_concrete_function(*(feature.spec for feature in features))
    names = [feature.name for feature in features]
    return from_concrete(traced, graph.source, keep=graph, names=names, origin=graph.origin)


def _are_texts(traced: ModelGraph, features: Sequence[_Feature]) -> dict[str, bool]:
    """By name, whether the model looks up an embedding for each value of a feature: a text, whose positions are explained."""
    lookups = {
        spec.name: [
            lookup.output
            for output in traced.outputs.values()
            for lookup in find_lookups(traced.view, [spec.node], output)
        ]
        for spec, feature in zip(traced.inputs, features, strict=True)
        if feature.is_sparse
    }
    tensors = list(dict.fromkeys(tensor for of_feature in lookups.values() for tensor in of_feature))
    shapes = dict(zip(tensors, traced.static_shapes(tensors, {}) if tensors else [], strict=True))

    def has_positions(tensor: str) -> bool:
        shape = shapes[tensor]
        return shape is not None and len(shape) == 3 and shape[1] != 1

    return {f.name: any(map(has_positions, lookups.get(f.name, ()))) for f in features}


def _as_column(feature: _Feature) -> _Feature:
    column = dataclasses.replace(feature, is_column=True)
    blank = np.full(
        1, column.input_spec.missing, object if feature.dtype == tf.string else feature.dtype.as_numpy_dtype
    )
    return dataclasses.replace(column, default=blank)


def _join_and_split(values: Any, spec: InputSpec) -> tuple[Any, Any, Any]:
    """(indices, values, shape) of a sparse column `[B, T]` without its missing values.

    In between, the values of each example are one string, at which methods that replace values enter: a column is one feature,
    whatever the number of its values.
    """
    texts = values
    if spec.dtype != "string":
        exact = {"precision": 9, "scientific": True} if spec.is_float else {}
        texts = tf.where(spec.is_missing(values), JOINED_MISSING, tf.strings.as_string(values, **exact))
    joined = tf.strings.reduce_join(texts, -1, separator=SEPARATOR)
    pieces = tf.strings.split(joined, SEPARATOR)
    packed = tf.ragged.boolean_mask(pieces, pieces.with_values(pieces.values != JOINED_MISSING))
    rows = packed.value_rowids()
    positions = tf.range(tf.shape(rows, tf.int64)[0]) - tf.gather(packed.row_starts(), rows)
    present = packed.values if spec.dtype == "string" else tf.strings.to_number(packed.values, spec.dtype)
    # The width is that of the longest example, as the parser's is, whatever fills up the rows.
    return tf.stack([rows, positions], 1), present, packed.bounding_shape(out_type=tf.int64)


def _serialize(features: Sequence[_Feature], arrays: Sequence[np.ndarray], required: Sequence[_Feature]) -> list[bytes]:
    """The examples as serialized tf.Examples; the `required` features, on which no output depends, are blank."""
    blank = {
        feature.name: feature.to_proto(np.full(feature.spec.shape[1:], "" if feature.dtype == tf.string else 0))
        for feature in required
    }
    examples = []
    for values in zip(*arrays, strict=True):
        protos = {feature.name: feature.to_proto(np.asarray(v)) for feature, v in zip(features, values, strict=True)}
        examples.append(tf.train.Example(features=tf.train.Features(feature=blank | protos)).SerializeToString())
    return examples


def _make_parser(graph: ModelGraph, features: Sequence[_Feature]) -> Callable[[Any], dict[str, np.ndarray] | None]:
    """A function of serialized tf.Examples → the features' arrays `[N, ...]`; None if the argument is something else."""

    @tf.function(autograph=False)
    def fetch(examples: Any) -> Any:
        imported = graph.import_graph({tensor_name(graph.inputs[0].node): examples})
        return [imported.fetch(feature.parsed) for feature in features]

    def parse(xs: Any) -> dict[str, np.ndarray] | None:
        if not _are_examples(xs, [feature.name for feature in features]):
            return None
        try:
            parsed = fetch(tf.constant(list(xs.numpy() if hasattr(xs, "numpy") else xs)))
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"xs holds tf.Examples that the model cannot parse: {model_error_text(error)}") from error
        return {feature.name: _to_dense(feature, tensors) for feature, tensors in zip(features, parsed, strict=True)}

    return parse


def _to_dense(feature: _Feature, tensors: Sequence[Any]) -> np.ndarray:
    """The parsed tensors of a feature as an array; InputError for texts of different lengths."""
    if len(tensors) == 1:
        values: np.ndarray = tensors[0].numpy()
        return values
    indices, values, shape = (t.numpy() for t in tensors)
    if feature.is_column:
        dense = np.full((shape[0], column_width(shape[1])), feature.input_spec.missing, values.dtype)
        dense[tuple(indices.T)] = values
        return dense
    lengths = np.bincount(indices[:, 0], minlength=shape[0])
    if (lengths != lengths[0]).any():
        raise InputError(
            f"xs: feature {feature.name} has from {lengths.min()} to {lengths.max()} values in these tf.Examples; explain "
            "examples of one length at a time"
        )
    return values.reshape(shape[0], lengths[0])


def _are_examples(xs: Any, names: Collection[str]) -> bool:
    """Whether xs are serialized tf.Examples, one of which has one of these features, not values of a string feature.

    Where there are several features, examples may all be blank.
    """
    if isinstance(xs, dict) or not hasattr(xs, "__len__") or not len(xs):
        return False
    values = xs.numpy() if hasattr(xs, "numpy") else xs
    if not all(isinstance(value, bytes) for value in values):
        return False
    try:
        examples = (tf.train.Example.FromString(value) for value in values)
        if any(not set(example.features.feature).isdisjoint(names) for example in examples):
            return True
    except DecodeError:
        return False
    return len(names) > 1 and set(values) <= _BLANK_EXAMPLES


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
    """All features, in the parser's order.

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
            tensors = tuple(f"{parser.name}:{part}" for part in parts)
            features.append(_Feature(name, spec, tensors, tensors, spec.dtype, True))
    dtypes, shapes = parser.attr["Tdense"].list.type, parser.attr["dense_shapes"].list.shape
    for i, (name, dtype, shape, default) in enumerate(zip(dense, dtypes, shapes, defaults, strict=True)):
        values = f"{parser.name}:{first_dense + i}"
        feature = _dense_feature(view, needed, values, name, tf.TensorShape(shape), dtype, default)
        features.append(dataclasses.replace(feature, is_used=is_used(first_dense + i)))
    return features


def _dense_feature(
    view: GraphView, needed: Collection[str], values: str, name: str, shape: Any, dtype: int, default: str
) -> _Feature:
    """`values` and `default` are tensors; the feature is entered after a cast to real numbers, if every reader casts."""
    consumers = [view.nodes[n] for n in view.consumers.get(values, ()) if n in needed]
    tensors: tuple[str, ...] = (values,)
    parsed_dtype = tf.as_dtype(dtype)
    if dtype not in FLOAT_TYPES and all(node.op == "Cast" for node in consumers):
        cast_types = {node.attr["DstT"].type for node in consumers}
        if len(cast_types) == 1 and cast_types <= FLOAT_TYPES:
            dtype, tensors = cast_types.pop(), tuple(tensor_name(node.name) for node in consumers)
    spec = tf.TensorSpec([None, *shape], tf.as_dtype(dtype))
    full_default = _full_default(_read_constant(view, default), shape)
    return _Feature(name, spec, tensors, (values,), parsed_dtype, True, full_default)


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
