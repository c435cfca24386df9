"""Backward rules: in every elementwise region y = f(z), the derivative f′(z) is replaced by a rule's multiplier."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.differentiation import WITHOUT_GRADIENT, is_differentiable
from tb_deepexplain.lazy_tensorflow import tf

if TYPE_CHECKING:
    from tb_deepexplain.graph.imported_graph import ImportedGraph
    from tb_deepexplain.graph.regions import Region, RegionAnalysis

    # (entries, context) → the submodel at these values
    _ImportGraph = Callable[[Sequence[Any], Sequence[Any]], ImportedGraph]


@dataclasses.dataclass(frozen=True)
class Activation:
    """One elementwise region while it is computed; all tensors in single or double precision."""

    op: str  # the TensorFlow op; "" if the region has several
    z: Any  # [B, ...]
    y: Any  # f(z)
    z_reference: Any  # z and y at the rule's reference, broadcastable to z; None if the rule has no reference
    y_reference: Any
    derivative: Callable[[Any], Any]  # f′ at other values of z

    def copied(self) -> Activation:
        """The same, of copies of the tensors."""
        fields = ("z", "y", "z_reference", "y_reference")
        tensors = {field: tensor for field in fields if (tensor := getattr(self, field)) is not None}
        return dataclasses.replace(self, **{field: tf.identity(tensor) for field, tensor in tensors.items()})


@dataclasses.dataclass(eq=False)
class Rule:
    """`multiplier(activation) -> like z` replaces f′; `reference` are values `[...]` like one example of each entry tensor.

    Steps that the rule does not support (products, softmax, loops) raise UnsupportedModelError or keep their gradient, as
    `on_unsupported` says. Applying the rule sets `unsupported`, the steps that kept their gradient, `maxima`, in words
    the nodes that give all to the winner, and `reference_output`, the model's output `[B, ...]` at the reference.
    """

    method: str  # for messages
    multiplier: Callable[[Activation], Any]
    reference: Sequence[Any] | None = None
    on_unsupported: Literal["error", "gradient"] = "error"
    unsupported: list[str] = dataclasses.field(default_factory=list)
    maxima: str = ""
    reference_output: Any = None

    def warnings(self) -> list[tuple[str, None]]:
        """(warning, None: for all examples) for every step that kept its gradient; known after the rule was applied."""
        return [
            (f"plain gradient through {step}: the map may not mean what {self.method} promises", None)
            for step in self.unsupported
        ]


def apply_rule(
    rule: Rule,
    analysis: RegionAnalysis,
    imported: ImportedGraph,
    import_graph: _ImportGraph,
    entries: Sequence[Any],
    context: Sequence[Any],
    output: str,
) -> None:
    """Import the regions into `imported`, each with the rule's multiplier in place of its derivative."""
    if analysis.unsupported and rule.on_unsupported == "error":
        plain = import_graph(entries, context).fetch([output])[0]
        works = (
            "integrated_gradients, which works for any differentiable model, or on_unsupported='gradient' to use the plain "
            "gradient there, as DeepExplain did"
        )
        raise UnsupportedModelError(
            f"{rule.method} has no rule for {'; '.join(analysis.unsupported)}. "
            f"Use {works if is_differentiable(plain, entries) else WITHOUT_GRADIENT}"
        )
    explained_softmax = ["the softmax that is itself explained"] if analysis.explains_softmax else []
    rule.unsupported[:] = [*analysis.unsupported, *explained_softmax]
    rule.maxima = analysis.maxima
    reference = _Reference(rule.reference, import_graph, entries, context) if rule.reference is not None else None
    for region in analysis.regions:
        z, y = imported.fetch([region.z, region.y])
        if z.shape.rank != y.shape.rank or not z.shape.is_compatible_with(y.shape):
            raise UnsupportedModelError(
                f"{rule.method}: {region.y!r} is computed elementwise from {region.z!r} but its shape is {y.shape} instead "
                f"of {z.shape}, which no rule supports; use integrated_gradients"
            )
        z_reference, y_reference = reference.activations(region, z) if reference else (None, None)
        activation = Activation(
            region.op,
            _at_least_single(z),
            _at_least_single(y),
            _at_least_single(z_reference),
            _at_least_single(y_reference),
            _derivative(region, imported, z.dtype),
        )
        imported.replace(region.y, _with_multiplier(y, z, rule, activation))
    rule.reference_output = reference.output(output, tf.shape(entries[0])[0]) if reference else None


def _with_multiplier(y: Any, z: Any, rule: Rule, activation: Activation) -> Any:
    """y, with the rule's multiplier as its gradient with respect to z."""

    @tf.custom_gradient
    def value(y: Any, _: Any) -> tuple[Any, Callable[[Any], tuple[None, Any]]]:
        def backward(gradient: Any) -> tuple[None, Any]:
            # Computed any sooner, the multiplier would take memory during the whole forward and backward pass.
            with tf.control_dependencies([gradient]):
                late = activation.copied()  # an edge for each of its ops would slow down TensorFlow's optimiser
            return None, gradient * tf.cast(rule.multiplier(late), y.dtype)

        return tf.identity(y), backward

    return value(y, z)


def _at_least_single(values: Any) -> Any:
    """Half precision as single precision; anything else unchanged."""
    return values if values is None or values.dtype.size >= 4 else tf.cast(values, tf.float32)


def _derivative(region: Region, imported: ImportedGraph, dtype: Any) -> Callable[[Any], Any]:
    """f′ of a region that computes in this dtype, differentiated by TensorFlow."""

    def derivative(values: Any) -> Any:
        # TensorFlow visits all that is computed from `values`: of a copy, that is the region alone.
        values = tf.identity(tf.cast(values, dtype))
        (y,) = imported.import_again({region.z: values}).fetch([region.y])
        (gradient,) = tf.gradients(y, values)
        return _at_least_single(tf.zeros_like(values) if gradient is None else tf.convert_to_tensor(gradient))

    return derivative


class _Reference:
    """The submodel at the reference: evaluated once for all examples where the result can be broadcast to them."""

    def __init__(
        self, values: Sequence[Any], import_graph: _ImportGraph, entries: Sequence[Any], context: Sequence[Any]
    ) -> None:
        values = [tf.cast(v, e.dtype) for v, e in zip(values, entries, strict=True)]

        def repeated(count: int) -> ImportedGraph:
            return import_graph([tf.tile(v[None], [count, *[1] * len(v.shape)]) for v in values], [])

        # Context differs between examples, and so do the activations at the reference.
        self._one_example = None if context else repeated(1)
        self._two_examples = None if context else repeated(2)
        self._batch = import_graph(
            [tf.broadcast_to(v, tf.shape(e)) for v, e in zip(values, entries, strict=True)], context
        )

    def output(self, name: str, count: Any) -> Any:
        """The output `[count, ...]` at the reference."""
        if self._one_example:
            return repeat_rows(self._one_example.fetch([name])[0], count)
        return self._batch.fetch([name])[0]

    def activations(self, region: Region, z: Any) -> tuple[Any, Any]:
        """A region's z and y at the reference, broadcastable to its `z`."""
        if self._one_example and self._two_examples:
            z_reference, y_reference = self._one_example.fetch([region.z, region.y])
            shape = z.shape
            if list(shape).count(None) > 1:  # two examples show which axis is the batch
                shape = self._two_examples.fetch([region.z])[0].shape
            if _is_broadcastable(z_reference.shape, shape):
                return z_reference, y_reference
        z_reference, y_reference = self._batch.fetch([region.z, region.y])
        return z_reference, y_reference


def repeat_rows(output: Any, count: Any) -> Any:
    """`[count · rows, ...]` the rows of an output, `count` times: of one example, a row for each of `count` examples."""
    return tf.tile(output, tf.stack([count, *[1] * (output.shape.rank - 1)]))


def _is_broadcastable(one: Any, many: Any) -> bool:
    """Whether a tensor of this shape, computed from one example, has axes of size one for the examples, and only there."""
    if one.rank is None or one.rank != many.rank:
        return False
    differing = [a for a, b in zip(one, many, strict=True) if a != b]
    unknown = [a for a, b in zip(one, many, strict=True) if a is None and b is None]
    # Axes of unknown length are equal if another axis is known to be the batch.
    return differing == [1] or (not differing and not unknown)
