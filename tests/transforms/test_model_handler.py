"""AttributionModelHandler, alone and under RunInference."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.util import assert_that

import tb_deepexplain as dx
from beam_pipelines.transforms import (
    Attribute,
    AttributionModelHandler,
    Failure,
)
from tb_deepexplain.errors import ParameterError
from tests.closeness import assert_map_close
from tests.transforms.elements import METHODS, PICTURES, make_elements, make_pipeline


def test_run_inference_answers_for_every_element(model: Path) -> None:
    elements = [*make_elements()[:10], ("short", {"image": np.ones(5)})]
    handler = AttributionModelHandler(Attribute(model, METHODS, batch_size=4))
    with make_pipeline() as p:
        answers = p | beam.Create(elements) | RunInference(handler)
        kinds = answers | beam.Map(lambda a: (a.example[0], type(a.inference).__name__))
        expected = sorted([(f"p{i:02}", "Explained") for i in range(10)] + [("short", "Failure")])
        assert_that(kinds, lambda got: np.testing.assert_equal(sorted(got), expected))


def test_answers_are_in_the_order_of_the_elements(model: Path) -> None:
    handler = AttributionModelHandler(Attribute(model, METHODS, target="label"))
    elements = [
        *make_elements()[:4],
        ("short", {"image": np.ones(5)}),
        ("nan", {"image": PICTURES[0] * np.nan, "label": 1}),
    ]
    elements = [elements[i] for i in (3, 4, 0, 5, 2, 1)]
    answers = list(handler.run_inference(elements, handler.load_model()))
    assert [answer.example for answer in answers] == elements
    expected = dx.explain("gradient_x_input", model, PICTURES[:4], target=np.arange(4) % 3)
    for (name, _), answer in zip(elements, answers, strict=True):
        result = answer.inference
        if name in ("short", "nan"):
            assert isinstance(result, Failure)
            assert (result.example_id, result.stage) == (name, "parse" if name == "short" else "explain")
            continue
        assert result.input.example_id == name
        assert [(row.example_id, row.method) for row in result.attributions] == [(name, method) for method in METHODS]
        assert_map_close(result.attributions[0].values, expected[int(name[1:])], share=1e-3)
    with pytest.raises(ParameterError, match="expected none; pass options to Attribute"):
        list(handler.run_inference(elements, handler.load_model(), {"target": 1}))


def test_elements_with_equal_ids_get_separate_answers(model: Path) -> None:
    handler = AttributionModelHandler(Attribute(model, ["saliency", "gradient_x_input"]))
    one, two = handler.run_inference(
        [("a", {"image": PICTURES[0]}), ("a", {"image": PICTURES[1]})], handler.load_model()
    )
    expected = dx.explain("gradient_x_input", model, PICTURES[:2], target="predicted")
    for answer, values in zip((one, two), expected, strict=True):
        assert [(a.example_id, a.method) for a in answer.inference.attributions] == [
            ("a", "saliency"),
            ("a", "gradient_x_input"),
        ]
        assert_map_close(answer.inference.attributions[1].values, values, share=1e-3)
