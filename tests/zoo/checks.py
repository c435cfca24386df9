"""One row a method: its parameters in the zoo, and what makes its map right. `check` runs a method on a member."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import find_method
from tests.zoo.as_called import AsCalled
from tests.zoo.literal_maps import Mask, literal_gradient, literal_occlusion, literal_shapley
from tests.zoo.literal_rules import literal_deeplift, literal_lrp
from tests.zoo.member import REASONS, Member

MOST_PLAYERS = 8


class Check(NamedTuple):
    """`parameters(called)` of a method, and `compare(called, maps, parameters, result)`, which fails if the maps are wrong."""

    compare: Callable[[AsCalled, list[np.ndarray], Mapping[str, Any], Any], None]
    parameters: Callable[[AsCalled], dict[str, Any]] = lambda _: {}


def _equals(literal: Callable[[AsCalled], list[np.ndarray]]) -> Check:
    return Check(lambda called, maps, _, __: _assert_close(maps, called.summed(literal(called)), called))


def _assert_close(
    maps: list[np.ndarray], expected: list[np.ndarray], called: AsCalled, tolerance: float | None = None
) -> None:
    scale = max(float(abs(e).max()) for e in expected)
    assert scale > 0, "the literal map is zero: choose another example or other weights"
    # Differences of scores are as exact as the scores.
    allowed = (tolerance or called.member.tolerance) * scale + 4e-6 * float(abs(called.score).max()) / expected[0][
        0
    ].size
    assert [m.shape for m in maps] == [e.shape for e in expected]
    for values, literal in zip(maps, expected, strict=True):
        np.testing.assert_allclose(values, literal, rtol=0, atol=allowed)


def _assert_sums(called: AsCalled, maps: list[np.ndarray], share: float) -> None:
    change = called.score - called.baseline_score
    total = sum(m.reshape(len(m), -1).astype(np.float64).sum(1) for m in maps)
    size = np.maximum(abs(change), 1e-3 * np.maximum(abs(called.score), abs(called.baseline_score)))
    np.testing.assert_array_less(abs(total - change), share * size + 1e-6 * abs(called.score).max() + 1e-12)


def _players(called: AsCalled) -> tuple[int | None, list[Mask]]:
    """sampling_dims, and the players: all features, whole tokens, or the indices of the longest axis that is short enough."""
    shapes = called.map_shapes
    axes = [list(range(len(s) - v)) for s, v in zip(shapes, called.vectors, strict=True)]
    dims = None
    if sum(math.prod(s[a] for a in of) for s, of in zip(shapes, axes, strict=True)) > MOST_PLAYERS:
        (shape,) = shapes
        axis = max((a for a in range(len(shape)) if shape[a] <= MOST_PLAYERS), key=lambda a: shape[a])
        axes, dims = [[axis]], axis + 1
    return dims, _boxes(
        shapes, [[1 if a in of else s[a] for a in range(len(s))] for s, of in zip(shapes, axes, strict=True)]
    )


def _windows(called: AsCalled) -> tuple[tuple[int, ...] | None, list[Mask]]:
    """window_shape, and the windows: single features, whole tokens, or halves of each axis but the last."""
    shapes = called.map_shapes
    widths = [[*[1] * (len(s) - 1), s[-1]] if v else [1] * len(s) for s, v in zip(shapes, called.vectors, strict=True)]
    if sum(map(math.prod, shapes)) <= 64 or any(called.vectors):
        return None, _boxes(shapes, widths)
    (shape,) = shapes
    window = tuple((n + 1) // 2 if a < 2 else n for a, n in enumerate(shape)) if len(shape) > 1 else (shape[0] // 4,)
    return window, _boxes(shapes, [list(window)])


def _boxes(shapes: list[tuple[int, ...]], widths: list[list[int]]) -> list[Mask]:
    """All boxes of these widths that fit, side by side, row-major, each as a mask for every entry."""
    masks = []
    for i, (shape, width) in enumerate(zip(shapes, widths, strict=True)):
        for corner in np.ndindex(*[n // w for n, w in zip(shape, width, strict=True)]):
            mask = [np.zeros(s, bool) for s in shapes]
            mask[i][tuple(slice(c * w, c * w + w) for c, w in zip(corner, width, strict=True))] = True
            masks.append(mask)
    return masks


def _occlusion_parameters(called: AsCalled) -> dict[str, Any]:
    window, _ = _windows(called)
    return {} if window is None else {"window_shape": window, "step": window}


def _compare_occlusion(called: AsCalled, maps: list[np.ndarray], _: Any, __: Any) -> None:
    _, windows = _windows(called)
    expected = literal_occlusion(called, windows)
    covered = [functools.reduce(np.logical_or, [w[i] for w in windows]) for i in range(len(maps))]
    for values, mask in zip(maps, covered, strict=True):
        assert np.isnan(values[:, ~mask]).all()
    maps = [np.where(mask, values, 0) for values, mask in zip(maps, covered, strict=True)]
    _assert_close(maps, expected, called)


def _shapley_parameters(called: AsCalled) -> dict[str, Any]:
    dims, players = _players(called)
    return {"estimator": "kernel", "samples": max(4, 2 ** len(players))} | (
        {} if dims is None else {"sampling_dims": dims}
    )


def _compare_shapley(called: AsCalled, maps: list[np.ndarray], _: Any, __: Any) -> None:
    expected = literal_shapley(called, _players(called)[1])
    _assert_close([np.concatenate([m.reshape(len(m), -1) for m in maps], 1)], [expected], called)


def _compare_path(called: AsCalled, maps: list[np.ndarray], _: Any, result: Any) -> None:
    warning = called.member.expected(called.member.warned, find_method("integrated_gradients"))
    is_warned = warning is not None and any(re.search(warning, text) for texts in result.warnings for text in texts)
    if not is_warned:
        _assert_sums(called, maps, 0.015)


def _compare_deeplift(called: AsCalled, maps: list[np.ndarray], _: Any, __: Any) -> None:
    if called.member.has_keras_activations:
        _assert_close(maps, called.summed(literal_deeplift(called)), called)
    else:
        _assert_sums(called, maps, 0.01)


def _compare_lrp(called: AsCalled, maps: list[np.ndarray], _: Any, __: Any) -> None:
    if called.member.has_keras_activations:
        _assert_close(maps, called.summed(literal_lrp(called)), called, called.member.lrp_tolerance)
    else:  # bias-free ReLU nets only
        gradient = literal_gradient(called)
        _assert_close(maps, [x * g for x, g in zip(called.entries, gradient, strict=True)], called)


CHECKS = {
    "saliency": _equals(lambda called: [abs(g) for g in literal_gradient(called)]),
    "gradient_x_input": _equals(
        lambda called: [x * g for x, g in zip(called.entries, literal_gradient(called), strict=True)]
    ),
    "integrated_gradients": Check(_compare_path),
    "epsilon_lrp": Check(_compare_lrp),
    "deeplift": Check(_compare_deeplift),
    "occlusion": Check(_compare_occlusion, _occlusion_parameters),
    "shapley_sampling": Check(_compare_shapley, _shapley_parameters),
}


class Explained(NamedTuple):
    called: AsCalled
    graph: Any


@functools.lru_cache(maxsize=1)  # tests run member by member
def explained(member: Member) -> Explained:
    called = AsCalled(member)
    return Explained(called, dx.load_model(member.explained(called.model)))


OPS = {
    "loop": {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"},
    "softmax": {"Softmax", "LogSoftmax"},
    "product": {
        "Mul",
        "MatMul",
        "BatchMatMulV2",
        "BatchMatMulV3",
        "Einsum",
        "RealDiv",
        "SquaredDifference",
        "Pow",
        "Square",
    },
}  # one of which the model as called has, if a refusal for this reason is true


def check(member: Member, method_id: str) -> None:
    """The method's map of the member is right, or refused as the member says, for a true reason."""
    method = find_method(method_id)
    reason = member.expected(member.refused, method)
    if reason is None:
        called, row = explained(member).called, CHECKS[method_id]
        called = called if method.family == "perturbation" else called.encoded
        parameters = row.parameters(called) | dict(member.parameters.get(method_id, {}))
        explainer, result = _explain(member, method_id, parameters)
        tolerance = 0.1 * member.tolerance
        np.testing.assert_allclose(result.score, called.score, tolerance, 0.1 * tolerance * abs(called.score).max())
        row.compare(called, _maps(result, explainer), parameters, result)
        return
    with pytest.raises(dx.DeepExplainError, match=REASONS[reason]):
        _explain(member, method_id, {})
    called = AsCalled(member) if "every" in member.refused else explained(member).called
    if reason == "no gradient":
        assert None in called.encoded.gradient(called.encoded.entries)
    elif reason == "batch axis":
        assert any(len(entry) != called.n for entry in called.entries)
    elif reason in OPS:
        assert OPS[reason] & called.ops, sorted(called.ops)


def check_format(member: Member, file_format: str, folder: Path) -> None:
    """The member in this format has the map of the object."""
    called, graph = explained(member)
    method = next(m for m in ("gradient_x_input", "occlusion") if not member.expected(member.refused, find_method(m)))
    path = member.formats[file_format](called.model, folder)
    if reason := member.expected(member.refused, file_format):
        with pytest.raises(dx.DeepExplainError, match=REASONS[reason]):
            dx.Explainer(method, path, target=member.target, **member.options)
        if reason == "random":
            assert _is_random(path, called.xs)
        return
    maps = []
    for model in (graph, path):
        explainer = dx.Explainer(method, model, target=member.target, **member.options)
        maps.append(_maps(explainer.run(called.xs, return_result=True), explainer))
    assert [m.shape for m in maps[0]] == [m.shape for m in maps[1]]
    scale = max(float(np.nanmax(abs(m))) for m in maps[0])
    for of_object, of_file in zip(*maps, strict=True):
        np.testing.assert_allclose(of_file, of_object, rtol=0, atol=1e-4 * scale)


def _is_random(path: Path, xs: Any) -> bool:
    """Whether a SavedModel of one input answers differently at different times."""
    signature = tf.saved_model.load(path).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    outputs = [next(iter(signature(**{name: tf.constant(xs)}).values())).numpy() for _ in range(8)]
    return any((outputs[0] != output).any() for output in outputs)


def _explain(member: Member, method_id: str, parameters: Mapping[str, Any]) -> tuple[Any, Any]:
    """The explainer and its result."""
    called, graph = explained(member)
    explainer = dx.Explainer(method_id, graph, target=member.target, **member.options, **parameters)
    return explainer, explainer.run(called.xs, return_result=True)


def _maps(result: Any, explainer: Any) -> list[np.ndarray]:
    """The maps in the order of the entries."""
    maps = result.attributions
    if isinstance(maps, dict):
        return [maps[explained.name] for explained in explainer.submodel.cut.explained]
    return list(maps) if isinstance(maps, list | tuple) else [maps]


def check_subject(member: Member, subject: str, folder: Path) -> None:
    """`check` for a method, `check_format` for a format."""
    if subject in member.formats:
        check_format(member, subject, folder)
    else:
        check(member, subject)
