"""Backward rules: on every elementwise region y = f(z) the derivative f′(z) is replaced by a multiplier of the rule's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.placement import Placement
from tb_deepexplain.graph.regions import Plan, Region


@dataclasses.dataclass(frozen=True)
class Activation:
    """One elementwise region while it is computed; all tensors in single precision at least."""

    op: str  # the TensorFlow op that it is, "" if it is made of several
    z: Any  # [B, ...]
    y: Any  # f(z)
    z_reference: Any  # the same at the rule's reference, to be broadcast; None where it has none
    y_reference: Any
    slope: Callable[[Any], Any]  # the derivative f′ at other values of z


@dataclasses.dataclass(eq=False)
class Rule:
    """`multiplier(activation) -> like z` stands for f′; `reference` are values `[...]` like one example of each entry.

    What the rule cannot treat (products, softmax, loops) is an UnsupportedModelError, or keeps its gradient and is
    named in `untreated`. While a function is traced, `outcome` is the model's output `[B, ...]` at the reference.
    """

    method: str
    multiplier: Callable[[Activation], Any]
    reference: Sequence[Any] | None = None
    on_unsupported: Literal["error", "gradient"] = "error"
    untreated: list[str] = dataclasses.field(default_factory=list)
    outcome: Any = None

    def notes(self) -> list[tuple[str, None]]:
        """What a reader of the map must know, once the rule was applied."""
        return [
            (f"plain gradient through {step}: the map may not mean what {self.method} promises", None)
            for step in self.untreated
        ]


def apply(
    rule: Rule,
    plan: Plan,
    place: Placement,
    at: Callable[[Sequence[Any], Sequence[Any]], Placement],
    entries: Sequence[Any],
    context: Sequence[Any],
    output: str,
) -> None:
    """Put the regions of `plan` into `place`, each with the rule's multiplier; `at` places the model at other entries."""
    if plan.untreated and rule.on_unsupported == "error":
        raise UnsupportedModelError(
            f"{rule.method} has no rule for {'; '.join(plan.untreated)}. Use integrated_gradients, which any differentiable "
            "model allows, or on_unsupported='gradient' to take the plain gradient there, as DeepExplain did"
        )
    rule.untreated[:] = [*plan.untreated, *(["the softmax that is itself explained"] if plan.softmax else [])]
    reference = _Reference(rule.reference, at, entries, context) if rule.reference is not None else None
    for region in plan.regions:
        z, y = place.fetch([region.z, region.y])
        if z.shape.rank != y.shape.rank or not z.shape.is_compatible_with(y.shape):
            raise UnsupportedModelError(
                f"{rule.method}: {region.y!r} is computed elementwise of {region.z!r} but changes its shape from {z.shape} "
                f"to {y.shape}, which no rule treats; use integrated_gradients"
            )
        referred = reference.of(region, z) if reference else (None, None)
        zr, yr = (_single(t) for t in referred)
        seen = Activation(region.op, _single(z), _single(y), zr, yr, _slope(region, place, z.dtype))
        place.replace(region.y, _multiplied(y, z, rule, seen))
    rule.outcome = reference.output(output, tf.shape(entries[0])[0]) if reference else None


def _multiplied(y: Any, z: Any, rule: Rule, seen: Activation) -> Any:
    """y, whose gradient with respect to z is the rule's multiplier."""

    @tf.custom_gradient
    def value(y: Any, _: Any) -> tuple[Any, Callable[[Any], tuple[None, Any]]]:
        def back(gradient: Any) -> tuple[None, Any]:
            with tf.control_dependencies([gradient]):  # sooner, it would lie in memory all the way forward and back
                return None, gradient * tf.cast(rule.multiplier(seen), y.dtype)

        return tf.identity(y), back

    return value(y, z)


def _single(values: Any) -> Any:
    """Half precision made single."""
    return values if values is None or values.dtype.size >= 4 else tf.cast(values, tf.float32)


def _slope(region: Region, place: Placement, kind: Any) -> Callable[[Any], Any]:
    """f′ of a region of this dtype, by TensorFlow's own derivative of it."""

    def slope(values: Any) -> Any:
        values = tf.cast(values, kind)
        with tf.control_dependencies(None):  # graphs cannot be imported under any
            (y,) = place.beside({region.z: values}).fetch([region.y])
        (found,) = tf.gradients(y, values)
        return _single(tf.zeros_like(values) if found is None else tf.convert_to_tensor(found))

    return slope


class _Reference:
    """The regions' tensors at the reference: from one evaluation for all examples where that can be broadcast to them."""

    def __init__(
        self,
        base: Sequence[Any],
        at: Callable[[Sequence[Any], Sequence[Any]], Placement],
        entries: Sequence[Any],
        context: Sequence[Any],
    ) -> None:
        base = [tf.cast(b, e.dtype) for b, e in zip(base, entries, strict=True)]
        # What the model reads besides differs between the examples, and then so do the activations.
        self._one, self._two = (
            None if context else at([tf.tile(b[None], [n, *[1] * len(b.shape)]) for b in base], []) for n in (1, 2)
        )
        self._every = at([tf.broadcast_to(b, tf.shape(e)) for b, e in zip(base, entries, strict=True)], context)

    def output(self, name: str, n: Any) -> Any:
        return tf.repeat(self._one.fetch([name])[0], n, axis=0) if self._one else self._every.fetch([name])[0]

    def of(self, region: Region, z: Any) -> tuple[Any, Any]:
        found = self._one.fetch([region.z, region.y]) if self._one else None
        many = z.shape
        if self._two and list(many).count(None) > 1:  # two examples tell what is not known of many
            many = self._two.fetch([region.z])[0].shape
        if found is None or not _broadcasts(found[0].shape, many):
            found = self._every.fetch([region.z, region.y])
        return found[0], found[1]


def _broadcasts(one: Any, many: Any) -> bool:
    """Whether a tensor made of one example serves all: an axis of size one where the examples are, all others alike."""
    if one.rank is None or one.rank != many.rank:
        return False
    differing = [a for a, b in zip(one, many, strict=True) if a != b]
    unknown = [a for a, b in zip(one, many, strict=True) if a is None and b is None]
    # Lengths that are not known may be compared where another axis is known to be the examples'.
    return differing == [1] or (not differing and not unknown)
