"""The original DeepExplain's numbers, for every method that the table has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tb_deepexplain.attribution.methods import TABLE, Method
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.graph.backward_rules import Rule
from tb_deepexplain.registry.formula import Formula
from tests.attribution import golden

CASES = golden.known_cases()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of maps of zeros and NaN
@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_matches_the_original(case: dict[str, Any]) -> None:
    actual, expected = golden.explain(case)
    for name in case["wrt"]:
        tolerance = case["tolerance"]
        np.testing.assert_allclose(
            actual[name], expected[name], rtol=tolerance["rtol"], atol=tolerance["atol"], equal_nan=True
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
