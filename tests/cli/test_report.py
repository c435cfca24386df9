"""The summary after a run."""

from __future__ import annotations

from typing import Any

import pytest

from beam_pipelines.cli.report import _describe_work, describe_precision


@pytest.mark.parametrize(
    ("in_a_batch", "words"),
    [(1.0, "1 example per batch"), (1.5, "1.5 examples per batch"), (8.0, "8 examples per batch")],
)
def test_examples_of_a_batch_are_counted(in_a_batch: float, words: str) -> None:
    spent: dict[str, Any] = dict.fromkeys(("units_retried", "out_of_memory_retries", "seconds_outside"), 0)
    spent |= {
        "evaluations": 3,
        "evaluations_per_second": 2.0,
        "seconds_in_model": 1.5,
        "examples_in_a_batch": in_a_batch,
    }
    assert (
        _describe_work(spent)
        == f"3 evaluations (2/s per worker once compiled), 100% of that time in the model, {words}"
    )


def test_evaluations_at_once_are_said_and_what_memory_allowed() -> None:
    spent: dict[str, Any] = dict.fromkeys(
        ("units_retried", "out_of_memory_retries", "seconds_outside", "seconds_in_model"), 0
    )
    spent |= {"evaluations": 3, "evaluations_per_second": 2.0, "examples_in_a_batch": 8.0}
    spent |= {"evaluations_at_once": {"saliency": 2048, "integrated_gradients": 512}}
    assert _describe_work(spent).endswith("8 examples per batch, 512 to 2,048 evaluations at once")
    spent |= {"evaluations_at_once": {"saliency": 512, "integrated_gradients": 512}}
    assert _describe_work(spent, 8192).endswith("512 evaluations at once instead of 8,192, for lack of memory")
    assert _describe_work(spent, 512).endswith("512 evaluations at once")


def test_a_precision_other_than_float32_is_reported_with_its_error() -> None:
    figures = {"examples": 8, "median": 0.047, "worst": 0.159, "rank_correlation": 0.98}
    manifest: dict[str, Any] = {"methods": [{"id": "saliency", "title": "Saliency"}], "precision": "tf32"}
    measured = manifest | {"precision_error": {"saliency": figures}}
    text = "tf32: maps of Saliency differ from float32 by 4.7 % (median), 16 % at worst, rank correlation 0.980, of 8 examples"
    assert describe_precision(measured) == [text]
    on_cpu = manifest | {"precision_error": {}, "spent": {"examples_without_tf32": 1200}}
    assert describe_precision(on_cpu) == ["TF32 changes nothing on a CPU: 1,200 examples in float32"]
    assert describe_precision({"methods": [], "mixed_precision": True}) == []  # of an earlier version
