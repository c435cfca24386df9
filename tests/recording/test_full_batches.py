"""A request explains as many examples at once as fill the batches of its methods and measures."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fill import counted
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.full_batches import FULL, LAST_ROUNDS, Work, examples_to_fill
from tb_deepexplain.recording.request import make_request
from tests import models

SIZE = 100


@pytest.mark.parametrize(
    ("of_ten_examples", "expected"),
    [
        ([Work(10, 256)], 256),  # one evaluation each
        ([Work(500, 256)], 5),  # 50 each
        ([Work(4000, 256)], 5),  # 400 each
        ([Work(500, 4096), Work(0, 4096)], 81),  # a measure whose scores are known has no batches
        ([Work(4000, 64), Work(10, 64)], 2),  # one evaluation beside many counts little
        ([Work(210, 4096), Work(10, 4096)], 780),  # four batches of the first, and 0.19 of one of the second
        ([Work(21, 4096)], 1950),  # 21 each, and one of ten examples is measured
    ],
)
def test_as_few_examples_as_fill_batches(of_ten_examples: list[Work], expected: int) -> None:
    assert examples_to_fill(of_ten_examples, 10) == expected


def test_small_last_rounds_need_more_examples() -> None:
    plain, refined = Work(200, 256), Work(200, 256, refines=True)
    n = examples_to_fill([refined], 10)
    assert examples_to_fill([plain], 10) < n
    assert 20 * n / (256 * (LAST_ROUNDS + np.ceil(20 * n / 256))) >= FULL


def _explainer() -> BatchExplainer:
    measures = {"deletion": {"steps": 3}, "max_sensitivity": {"samples": 3}}
    request = make_request("", ["gradient_x_input", "saliency"], measures=measures, batch_size=SIZE, target=0)
    return BatchExplainer(request, load_model(models.sequential()))


def _examples(explainer: BatchExplainer, count: int) -> list[Example]:
    xs = np.random.default_rng(0).random((count, 10), np.float32)
    return [Example(f"{i}", {explainer.names[0]: x}) for i, x in enumerate(xs)]


def test_the_examples_of_a_request_fill_its_batches() -> None:
    with counted() as sizes:
        explainer = _explainer()
        explainer.explain(_examples(explainer, 3))
        to_fill = explainer.examples_to_fill
        sizes.clear()
        explainer.explain(_examples(explainer, to_fill))
    assert 1 < to_fill <= SIZE
    assert sum(sizes) / (SIZE * len(sizes)) >= FULL


def test_progress_moves_after_each_measure() -> None:
    explainer, shares = _explainer(), list[float]()
    explainer.explain(_examples(explainer, 5), shares.append)
    assert sum(shares) == pytest.approx(5)
    assert len([share for share in shares if share > 0]) == 2 * (1 + 2)  # of each method: maps and two measures
