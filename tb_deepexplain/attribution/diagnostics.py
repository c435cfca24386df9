"""What is wrong with a map that says nothing: all zero, or NaN and infinity. Asked only where a map is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.score import select
from tb_deepexplain.graph.submodel import Submodel

_SEEN_BY = "occlusion may still show what the score depends on"


class Diagnosis:
    """Of the maps of one submodel."""

    def __init__(self, submodel: Submodel) -> None:
        self._submodel = submodel
        self._passes: dict[Any, Any] = {}
        self._weights: str | None = None

    def of(
        self,
        family: str,
        maps: Sequence[np.ndarray],
        score: np.ndarray,
        entries: Sequence[Any],
        context: Sequence[Any],
        target: Any,
        ys: Any,
    ) -> list[list[str]]:
        """What is to be said of each example's map, made by a method of this family."""
        flat = [m.reshape(len(m), -1) for m in maps]
        # A few values from the middle clear most maps.
        empty = np.all([~f[:, f.shape[1] // 2 : f.shape[1] // 2 + 64].any(1) for f in flat], axis=0)
        empty[empty] = np.all([~f[empty].any(1) for f in flat], axis=0)
        found: list[list[str]] = [[] for _ in score]
        for n in np.flatnonzero(empty):
            own, beside = ([t[n : n + 1] for t in tensors] for tensors in (entries, context))
            unit, weights = (None if c is None else tf.constant(c[n : n + 1]) for c in (target, ys))
            unmoved = "nothing that was taken away changes the score"
            why = unmoved if family == "perturbation" else self._why_zero(own, beside, unit, weights)
            found[n].append(f"the map is zero everywhere: {why}")
        with np.errstate(invalid="ignore", over="ignore"):
            suspect = not all(
                np.isfinite(f.sum()) for f in flat
            )  # one cheap pass says for most batches that all is well
        broken = np.any([~np.isfinite(f).all(1) for f in flat], axis=0) if suspect else np.zeros(len(score), bool)
        for n in np.flatnonzero(broken):
            finite = all(np.isfinite(e[n].numpy()).all() for e in entries if e.dtype.is_floating)
            why = self._why_not_finite(family, bool(np.isfinite(score[n]))) if finite else "so does the input"
            found[n].append(f"the map holds NaN or infinity: {why}")
        return found

    def _why_zero(self, entries: list[Any], context: list[Any], target: Any, ys: Any) -> str:
        regions = self._submodel.region_analysis.regions
        given = [entries, context, target, ys]
        key = (
            tuple((tuple(t.shape), t.dtype) for t in tf.nest.flatten(given) if t is not None),
            target is None,
            ys is None,
        )
        if (
            key not in self._passes
        ):  # concrete: TensorFlow warns of functions that are traced often, and means all models'
            specs = tf.nest.map_structure(lambda t: None if t is None else tf.TensorSpec(t.shape, t.dtype), given)
            self._passes[key] = tf.function(self._where_it_passes, autograph=False).get_concrete_function(*specs)
        passes = self._passes[key](*given).numpy()
        behind, before = passes[: len(regions)], passes[len(regions) : 2 * len(regions)]
        dead = [region for region, y, z in zip(regions, behind, before, strict=True) if y and not z]
        if passes[2 * len(regions) :].any():
            return "wherever the gradient is not zero, the input is zero, or as the baseline"
        if dead:
            where = self._submodel.graph.describe_layer(dead[-1].y)
            return f"every unit of {where} is flat for this example (off or saturated) and lets no gradient through; {_SEEN_BY}"
        return f"small changes of this input do not change the score; {_SEEN_BY}"

    def _where_it_passes(self, entries: list[Any], context: list[Any], target: Any, ys: Any) -> Any:
        """Of one example: whether a gradient arrives at each region's y, at each one's z, and at each entry."""
        imported, regions = self._submodel.import_graph(entries, context), self._submodel.region_analysis.regions
        inner = imported.fetch([*(r.y for r in regions), *(r.z for r in regions)])
        score = select(imported.fetch([self._submodel.cut.output])[0], target, ys)
        return tf.stack([_nonzero(g) for g in tf.gradients(score, [*inner, *entries])])

    def _why_not_finite(self, family: str, score_is_finite: bool) -> str:
        if self._weights is None:
            names = [
                name
                for name, values in self._submodel.graph.variables()
                if values.dtype.is_floating and not np.isfinite(np.asarray(values.numpy(), np.float64)).all()
            ]
            self._weights = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if self._weights:
            return f"so do the model's weights ({self._weights})"
        if not score_is_finite:
            return "so does the model's output"
        if family == "perturbation":
            return "so does the score where something was taken away, or no window covers a feature"
        return "inside the model, or at the baseline, something overflows or has no derivative"


def _nonzero(gradient: Any) -> Any:
    return tf.constant(False) if gradient is None else tf.reduce_any(tf.convert_to_tensor(gradient) != 0)
