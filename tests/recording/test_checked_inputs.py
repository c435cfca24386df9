"""BatchExplainer checks the inputs of a batch once for all methods, targets and measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tb_deepexplain as dx
from tb_deepexplain.attribution import inputs
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Request
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.targets import Target
from tests import models

RNG = np.random.default_rng(0)


def _count(monkeypatch: pytest.MonkeyPatch, *names: str) -> dict[str, int]:
    """How often functions of the module `inputs` are called from now on."""
    calls = dict.fromkeys(names, 0)

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **options)

        return call

    for name in names:
        monkeypatch.setattr(inputs, name, counted(name, getattr(inputs, name)))
    return calls


@pytest.mark.parametrize("measured", [1.0, 0.5])
def test_inputs_are_checked_cast_hashed_and_tested_for_nan_once(
    measured: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(
        model="",
        methods=(("saliency", {}), ("gradient_x_input", {}), ("shapley_sampling", {"samples": 1})),
        target=Target("top", 2),
        measures=(("completeness", {}), ("faithfulness_correlation", {"samples": 5}), ("stability", {"samples": 1})),
        measured=measured,
    )
    explainer = BatchExplainer(request, dx.load_model(models.sequential()))
    examples = [Example(str(i), {explainer.names[0]: RNG.normal(size=10).astype(np.float32)}) for i in range(4)]
    calls = _count(monkeypatch, "read_array", "example_seeds", "holds_not_finite")
    records = explainer.explain(examples)
    assert len(records.attributions) == 4 * 3 * 2
    assert not records.errors
    assert calls == {"read_array": 1, "example_seeds": 1, "holds_not_finite": 1}


def test_checked_inputs_give_the_same_results() -> None:
    model = models.two_inputs()
    explainer, other = dx.Explainer("shapley_sampling", model, target=0), dx.Explainer("saliency", model, target=0)
    xs = {"numbers": RNG.normal(size=(3, 4)).astype(np.float32), "ids": RNG.integers(0, 10, (3, 6))}
    checked = explainer.check(xs)
    for each in (explainer, other):
        expected, actual = each.run(xs), each.run(checked)
        assert set(actual) == set(expected) == set(xs)
        for name in xs:
            np.testing.assert_array_equal(actual[name], expected[name])
        some = each.run(checked.take(np.array([2, 0])))
        np.testing.assert_allclose(some["numbers"], expected["numbers"][[2, 0]], rtol=1e-5, atol=1e-7)
        assert each.run(checked.take(np.array([], int)))["numbers"].shape == (0, 4)
    with pytest.raises(dx.InputError, match=r"xs was checked for .*numbers.*, but the model takes"):
        dx.Explainer("saliency", models.sequential()).run(checked)


def test_short_texts_and_categories_are_batched_together() -> None:
    def text(*words: str) -> Example:
        return Example("a", {"x": np.array(words, object), "y": np.zeros(2)})

    short = [text(word) for word in ("", "male", "3rd", "z" * 63)]
    assert len({example.batch_key for example in short}) == 1
    long = [text("z" * length) for length in (63, 64, 127, 128)]
    assert [one.batch_key == long[1].batch_key for one in long] == [False, True, True, False]
    assert text("a").batch_key != text("a", "b").batch_key
