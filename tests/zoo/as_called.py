"""AsCalled: a model of the zoo as its owner calls it, entered at the tensors that are explained. Uses nothing of the library."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from tests.zoo.member import Member


class AsCalled:
    """Scores and gradients of one member by plain calls; `points` are values of the entries, `[B, ...]` each.

    `encoded` is the same model entered behind its encodings of categories, where it has gradients; `map_shapes` are the same there.
    """

    def __init__(self, member: Member, raw: AsCalled | None = None) -> None:
        tf.keras.utils.set_random_seed(0)
        self.member = member
        self.model = member.build() if raw is None else raw.model
        self.xs = member.xs(np.random.default_rng(0))
        self.n = len(tf.nest.flatten(self.xs)[0])
        self.entry_keys = list((member.entries if raw is None else member.encodings)(self.model))  # type: ignore[misc]
        self.embedded = [not isinstance(key, int | str) for key in self.entry_keys]
        self.entries = self._look_up(self.xs)
        if raw is None:
            ranks = member.map_ranks or [e.ndim - 1 for e in self.entries]
            self.map_shapes = [e.shape[1:][:rank] for e, rank in zip(self.entries, ranks, strict=True)]
            self.baselines = [_missing(e) for e in self.entries]
        else:
            self.map_shapes = raw.map_shapes
            self.baselines = self._look_up(tf.nest.map_structure(_missing, self.xs))
        self.vectors = [  # whether the last axis of the map is one of a vector
            embedded and member.map_ranks is None for embedded in self.embedded
        ]

    @functools.cached_property
    def encoded(self) -> AsCalled:
        return self if self.member.encodings is None else AsCalled(self.member, self)

    def summed(self, values: Sequence[Any]) -> list[np.ndarray]:
        """Values of the entries, summed to the shapes of their maps."""
        shapes = zip(values, self.map_shapes, strict=True)
        return [np.asarray(v).reshape(self.n, *shape, -1).sum(-1) for v, shape in shapes]

    def scores(self, points: Sequence[Any], rows: Any) -> np.ndarray:
        """The scores [B] at the points; the other inputs are those of the examples `rows`."""
        return self._score([tf.constant(p) for p in points], np.asarray(rows)).numpy().astype(np.float64)

    def gradient(self, points: Sequence[Any]) -> list[Any]:
        """The gradient of the score at one point for each example, like the points; None where there is none."""
        gradients = self.traced_gradient([tf.constant(p) for p in points], np.arange(self.n))
        return [None if g is None else g.numpy() for g in gradients]

    def traced_gradient(self, points: Sequence[Any], rows: np.ndarray) -> list[Any]:
        """The gradient as tensors, also inside a tf.function."""
        with tf.GradientTape() as tape:
            tape.watch(points)
            score = tf.reduce_sum(self._score(points, rows))
        return [None if g is None else tf.convert_to_tensor(g) for g in tape.gradient(score, points)]

    @functools.cached_property
    def score(self) -> np.ndarray:
        return self.scores(self.entries, np.arange(self.n))

    @functools.cached_property
    def baseline_score(self) -> np.ndarray:
        return self.scores(self.baselines, np.arange(self.n))

    @functools.cached_property
    def ops(self) -> set[str]:
        """The TensorFlow ops of the model, those of its inner functions included."""
        rows = np.arange(self.n)
        graph = tf.function(lambda: self._score(self.entries, rows)).get_concrete_function().graph
        definition = graph.as_graph_def()
        inner = [node for function in definition.library.function for node in function.node_def]
        return {node.op for node in [*definition.node, *inner]}

    def _score(self, points: Sequence[Any], rows: np.ndarray) -> Any:
        inputs = tf.nest.map_structure(lambda x: tf.constant(np.asarray(x)[rows]), self.xs)
        with contextlib.ExitStack() as stack:
            for key, point in zip(self.entry_keys, points, strict=True):
                if not isinstance(key, int | str):
                    stack.enter_context(_embedding(key, lambda _, p=point: tf.identity(p)))
                elif isinstance(inputs, dict | list):
                    inputs[key] = point
                else:
                    inputs = point
            output = tf.convert_to_tensor(self.member.call(self.model, inputs))
        if output.shape.rank > 1:
            output = output[..., self.member.target]
        if output.shape.rank > 1:
            output *= tf.cast(self._region[rows], output.dtype)
        return tf.reduce_sum(output, axis=list(range(1, output.shape.rank)))

    @functools.cached_property
    def _region(self) -> np.ndarray:
        """[N, ...] for an output of classes at positions: where the target is predicted, all positions if nowhere."""
        output = np.asarray(self.member.call(self.model, tf.nest.map_structure(tf.constant, self.xs)))
        region = output.argmax(-1) == self.member.target
        nowhere = ~region.any(tuple(range(1, region.ndim)), keepdims=True)
        return region | nowhere

    def _look_up(self, xs: Any) -> list[Any]:
        """The values of the entries for examples; those of embeddings and encodings are seen while the model is called."""
        seen: dict[int, Any] = {}
        with contextlib.ExitStack() as stack:
            for number, key in enumerate(self.entry_keys):
                if self.embedded[number]:
                    stack.enter_context(_embedding(key, functools.partial(seen.setdefault, number)))
                else:
                    seen[number] = xs[key] if isinstance(key, str) or isinstance(xs, list) else xs
            if any(self.embedded):
                self.member.call(self.model, tf.nest.map_structure(tf.constant, xs))
        values = [np.asarray(seen[number]) for number in range(len(self.entry_keys))]
        return [
            v.astype(np.float32) if e and v.dtype.kind in "iu" else v
            for v, e in zip(values, self.embedded, strict=True)
        ]


def _missing(values: Any) -> np.ndarray:
    """Zeros, or empty strings."""
    return np.full_like(values, "" if np.asarray(values).dtype.kind in "UO" else 0)


@contextlib.contextmanager
def _embedding(key: Any, replacement: Callable[[Any], Any]) -> Iterator[None]:
    """The rows that a layer gives, or that tf.gather takes from a table, become `replacement(rows)`."""
    original = key.call if hasattr(key, "call") else tf.gather

    def call(*args: Any, **kwargs: Any) -> Any:
        rows = original(*args, **kwargs)
        is_entry = hasattr(key, "call") or (args[0] if args else kwargs["params"]) is key
        return replacement(rows) if is_entry else rows

    if not hasattr(key, "call"):
        with mock.patch.object(tf, "gather", call):
            yield
        return
    object.__setattr__(key, "call", call)
    try:
        yield
    finally:
        object.__delattr__(key, "call")
