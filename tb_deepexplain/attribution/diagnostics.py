"""Diagnostics: why a map is all zero or not finite. Computed only for such maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.compiled_method import EncodedMaps
from tb_deepexplain.attribution.examples import Batch
from tb_deepexplain.attribution.score import select
from tb_deepexplain.graph.graph_view import list_names
from tb_deepexplain.graph.submodel import Submodel

_ALTERNATIVE = "occlusion may still show what the score depends on"


class Diagnostics:
    """Diagnostics for the maps of one submodel."""

    def __init__(self, submodel: Submodel) -> None:
        self._submodel = submodel
        self._not_finite_weights: str | None = None

    def describe(
        self, family: str, maps: Sequence[np.ndarray] | EncodedMaps, score: np.ndarray, batch: Batch
    ) -> list[list[str]]:
        """The warnings for each example's map; `family` is that of the method."""
        zero, not_finite = (maps.is_zero, ~maps.is_finite) if isinstance(maps, EncodedMaps) else _check(maps)
        texts: list[list[str]] = [[] for _ in score]
        no_score = ~np.isfinite(score)
        for n in np.flatnonzero(zero & ~no_score):
            reason = (
                "removing features does not change the score"
                if family == "perturbation"
                else self._why_zero(batch, int(n))
            )
            texts[n].append(f"the map is zero everywhere: {reason}")
        for n in np.flatnonzero(not_finite):
            reason = (
                self._why_not_finite(family, bool(np.isfinite(score[n])))
                if not (inputs := self._not_finite_inputs(batch, int(n)))
                else f"so does the input{f' {list_names(inputs)}' if len(batch.entries) > 1 else ''}"
            )
            if family == "perturbation" and np.isfinite(score[n]):
                reason += _where(maps.of_inputs(int(n)) if isinstance(maps, EncodedMaps) else [m[n] for m in maps])
            texts[n].append(f"the map holds NaN or infinity: {reason}")
        for n in np.flatnonzero(no_score & ~not_finite):
            value = "NaN" if np.isnan(score[n]) else "infinite"
            weights = self._weights_not_finite()
            reason = (
                f"the model's weights hold NaN or infinity ({weights})"
                if weights
                else "an operation inside the model overflows or divides by zero"
            )
            if self._not_finite_inputs(batch, int(n)):
                reason = "the input holds NaN or infinity"
            texts[n].append(f"the score is {value}, and the map explains nothing: {reason}")
        return texts

    def _why_zero(self, batch: Batch, n: int) -> str:
        """Why the gradient of example n is zero: it is blocked in an activation, or the score does not depend on the input."""
        regions = self._submodel.region_analysis.regions
        entries, context = ([t[n : n + 1] for t in tensors] for tensors in (batch.entries, batch.context))
        target, ys = (None if a is None else tf.constant(a[n : n + 1]) for a in (batch.target, batch.ys))
        arguments = [entries, context, target, ys]
        key = (
            "diagnosis",
            tuple((tuple(t.shape), t.dtype) for t in tf.nest.flatten(arguments) if t is not None),
            target is None,
            ys is None,
        )
        specs = tf.nest.map_structure(lambda t: None if t is None else tf.TensorSpec(t.shape, t.dtype), arguments)
        # A concrete function: TensorFlow warns about functions that are traced often.
        gradients = self._submodel.compile_once(
            key, lambda: tf.function(self._gradients, autograph=False).get_concrete_function(*specs)
        )(*arguments)
        arrives = [g is not None and bool(np.any(g.numpy())) for g in gradients]
        at_y, at_z, at_entries = (arrives[i * len(regions) :][: len(regions) if i < 2 else None] for i in range(3))
        blocking = [region for region, y, z in zip(regions, at_y, at_z, strict=True) if y and not z]
        if any(at_entries):
            return "wherever the gradient is not zero, the input is zero or equals the baseline"
        if blocking:
            layer = self._submodel.graph.describe_layer(blocking[-1].y)
            return f"every unit of {layer} is flat for this example (off or saturated) and lets no gradient through; {_ALTERNATIVE}"
        return f"small changes of this input do not change the score; {_ALTERNATIVE}"

    def _gradients(self, entries: list[Any], context: list[Any], target: Any, ys: Any) -> list[Any]:
        """For one example: the gradients at each region's y, at each region's z, and at each entry; None where there is none."""
        imported, regions = self._submodel.import_graph(entries, context), self._submodel.region_analysis.regions
        inner = imported.fetch([*(r.y for r in regions), *(r.z for r in regions)])
        score = select(imported.fetch([self._submodel.cut.output])[0], target, ys)
        gradients = tf.gradients(score, [*inner, *entries])
        # Tested for zeros by NumPy: in a long unrolled loop, that would be thousands of ops to trace and to place.
        return [None if g is None else tf.convert_to_tensor(g) for g in gradients]

    def _why_not_finite(self, family: str, score_is_finite: bool) -> str:
        if self._weights_not_finite():
            return f"so do the model's weights ({self._weights_not_finite()})"
        if not score_is_finite:
            return "so does the model's output"
        if family == "perturbation":
            return "so does the score without some features, or no window covers a feature"
        return "an operation inside the model, or at the baseline, overflows, divides by zero or has no derivative"

    def _not_finite_inputs(self, batch: Batch, n: int) -> list[str]:
        """The names of the entries that are not finite in example n."""
        return [
            name
            for name, entry in zip(self._submodel.entry_names, batch.entries, strict=True)
            if entry.dtype.is_floating and not np.isfinite(entry[n].numpy()).all()
        ]

    def _weights_not_finite(self) -> str:
        """The names of the weights that hold NaN or infinity."""
        if self._not_finite_weights is None:
            self._not_finite_weights = list_names(self._submodel.graph.not_finite_weights)
        return self._not_finite_weights


def _check(maps: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`[N]` whether a map is zero everywhere, and whether it is not finite somewhere."""
    flat = [m.reshape(len(m), -1) for m in maps]
    # A few values from the middle clear most maps.
    zero = np.all([~f[:, f.shape[1] // 2 : f.shape[1] // 2 + 64].any(1) for f in flat], axis=0)
    zero[zero] = np.all([~f[zero].any(1) for f in flat], axis=0)
    with np.errstate(invalid="ignore", over="ignore"):  # one cheap pass clears most batches
        suspect = not all(np.isfinite(f.sum()) for f in flat)
    not_finite = np.any([~np.isfinite(f).all(1) for f in flat], axis=0) if suspect else np.zeros(len(zero), bool)
    return zero, not_finite


def _where(maps: Sequence[np.ndarray]) -> str:
    """In words, where the maps of one example are not finite."""
    positions = [
        f"{f'input {i}, ' if len(maps) > 1 else ''}{tuple(map(int, np.argwhere(~np.isfinite(m))[0]))}"
        for i, m in enumerate(maps)
        if not np.isfinite(m).all()
    ]
    count, size = sum(int((~np.isfinite(m)).sum()) for m in maps), sum(m.size for m in maps)
    return f" ({count} of {size} values, the first at {positions[0]})"
