"""The original DeepExplain's numbers, for every method that the table has."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import TABLE, Method, find_method
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.errors import UnknownMethodError
from tb_deepexplain.graph.backward_rules import Rule
from tb_deepexplain.registry.formula import Formula
from tests.attribution import golden


def _known(name: str) -> bool:
    try:
        return bool(find_method(name))
    except UnknownMethodError:
        return False


CASES = [c for c in golden.index()["cases"] if c["match"] != "informational" and _known(c["method"])]


@cache
def _graph(name: str) -> dx.ModelGraph:
    return dx.load_model(golden.build(name))


def _parameters(case: dict[str, Any], data: Any) -> dict[str, Any]:
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in case["params"].items() if k != "baseline"}
    if case["method"] == "intgrad":
        params = {"steps": 100, "quadrature": "right", **params}
    if case["method"] == "shapley_sampling":
        params = {"estimator": "permutation", **params}
    baselines = [data[f"baseline:{name}"] for name in case["wrt"] if f"baseline:{name}" in data]
    if baselines:
        params["baseline"] = baselines if len(baselines) > 1 else baselines[0]
    return params


@pytest.mark.filterwarnings("ignore::UserWarning")  # of maps of zeros and NaN
@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_matches_the_original(case: dict[str, Any]) -> None:
    data = dict(np.load(golden.FOLDER / case["file"]))
    golden.set_weights(golden.build(case["model"]), case["model"], data)
    explainer = dx.Explainer(
        case["method"],
        _graph(case["model"]),
        inputs=case["wrt"],
        output=case["target"],
        logits=False,
        target=None,
        **_parameters(case, data),
    )
    with pytest.MonkeyPatch.context() as patch:
        if "permutations" in data:  # of the players, the same for all examples
            places = np.argsort(data["permutations"])[None].astype(np.int32)
            sampling = importlib.import_module("tb_deepexplain.attribution.methods.shapley_sampling")
            patch.setattr(sampling, "_ranks", lambda score, *_: tf.repeat(places, score.n, axis=0))
        actual = explainer.run(
            {name: data[f"x:{name}"] for name in case["wrt"]}, ys=data.get("ys"), batch_size=case["batch_size"]
        )
    for name in case["wrt"]:
        tolerance = case["tolerance"]
        np.testing.assert_allclose(
            actual[name], data[f"expected:{name}"], rtol=tolerance["rtol"], atol=tolerance["atol"], equal_nan=True
        )


def _zero(score: Score) -> Explanation:
    """DeepExplain's test method: the gradient, with every activation's slope replaced by zero."""
    value, gradient, _ = score.propagate(Rule("zero", lambda a: tf.zeros_like(a.z)))
    return Explanation(gradient, tf.ones([score.n], tf.int32), value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of maps of zeros and NaN
@pytest.mark.parametrize(
    "case",
    [c for c in golden.index()["cases"] if c["method"] == "zero" and c["match"] == "must"],
    ids=lambda c: c["id"],
)
def test_another_rule_is_one_row_more(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    row = Method(
        function=_zero,
        title="Zero",
        family="backprop rule",
        signed=True,
        sums_to=None,
        paper="DeepExplain",
        cost=Formula("1"),
        limits="A test.",
        aliases=("zero",),
    )
    monkeypatch.setattr("tb_deepexplain.attribution.methods.TABLE", (*TABLE, row))
    test_matches_the_original(case)


def test_the_cases_are_all_there() -> None:
    assert sum(c["method"] in ("saliency", "grad*input", "intgrad", "occlusion") for c in CASES) == 111
