"""Keys and elements come back, with Beam's type hints."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from apache_beam.typehints import typehints
from apache_beam.typehints.decorators import TypeCheckError

import tb_deepexplain as dx
from beam_pipelines.transforms import Attribute, Explained, Failure, WriteAttributions, digest
from beam_pipelines.transforms.elements import K, V
from beam_pipelines.transforms.output_hints import element_types
from tests.transforms.elements import PICTURES, make_pipeline

SHORT = {"image": [1.0]}


def _sum(explained: Explained) -> float:
    return float(explained.attributions[0].values.sum())


@pytest.mark.parametrize("keys", [[7, "7", 8, 7], [b"\xff\0", "é", b"7", b""], [("a", 1), ("a", 2), (), None]])
def test_keys_and_elements_come_back_unchanged(model: Path, keys: list[Any]) -> None:
    """Also keys that are equal as text, and None, for which a digest stands."""
    elements = [
        (key, {"image": picture, "label": i % 3}) for i, (key, picture) in enumerate(zip(keys, PICTURES, strict=False))
    ]
    maps = {
        i: float(values.sum())
        for i, values in enumerate(dx.explain("saliency", model, PICTURES[:4], target="predicted"))
    }

    def check(outputs: list[Explained]) -> None:
        assert len(outputs) == len(keys)
        for output in outputs:
            i = next(
                i
                for i, (_, element) in enumerate(elements)
                if np.array_equal(element["image"], output.element["image"])
            )
            key = keys[i] if keys[i] is not None else digest(elements[i][1])
            assert (output.key, type(output.key)) == (key, type(key))
            is_text = isinstance(key, bytes) and key not in (b"\xff\0", b"")
            assert output.input.example_id == (key.decode() if is_text else str(key))
            assert output.element.keys() == {"image", "label"} and output.element["label"] == i % 3
            np.testing.assert_allclose(_sum(output), maps[i], rtol=2e-3)

    def check_errors(outputs: list[Failure]) -> None:
        assert [(output.key, output.element, output.stage) for output in outputs] == [(keys[0], SHORT, "parse")]
        assert outputs[0].record.example_id == outputs[0].example_id == str(keys[0])

    with make_pipeline() as p:
        attributions = p | beam.Create([*elements, (keys[0], SHORT)]) | Attribute(model, ["saliency"])
        assert_that(attributions.explained, check)
        assert_that(attributions.errors, check_errors, label="errors")


def test_results_are_joined_by_key(model: Path) -> None:
    keys = [3, 1, 2]
    with make_pipeline() as p:
        pictures = [(key, {"image": picture}) for key, picture in zip(keys, PICTURES, strict=False)]
        explained = (p | beam.Create(pictures) | Attribute(model, ["saliency"])).explained
        names = p | "Names" >> beam.Create([(key, f"name {key}") for key in keys])
        joined = {"maps": explained | beam.Map(lambda e: (e.key, e)), "names": names} | beam.CoGroupByKey()
        described = joined | beam.MapTuple(lambda key, of: (key, [e.key for e in of["maps"]], list(of["names"])))
        expected = [(key, [key], [f"name {key}"]) for key in sorted(keys)]
        assert_that(described, lambda got: np.testing.assert_equal(sorted(got), expected))


def _key_of(explained: Explained[int, dict[str, Any]]) -> int:
    return explained.key


def test_a_wrong_consumer_is_refused_when_the_pipeline_is_built() -> None:
    pairs = make_pipeline() | beam.Create([(1, {"image": 0.0})])
    attributions = pairs | Attribute("nowhere", ["saliency"])
    assert attributions.explained.element_type == Explained[int, dict[str, float]]
    for consumer in (int, Explained[str, Any], Failure, tuple):
        with pytest.raises(TypeCheckError, match="requires PCollections of type"):
            _ = attributions.explained | f"{consumer}" >> beam.Map(str).with_input_types(consumer)
    for consumer in (Explained, Explained[int, Any], Explained[K, V], object, Explained | Failure):
        _ = attributions.explained | f"{consumer}" >> beam.Map(str).with_input_types(consumer)
    _ = attributions.errors | "errors" >> beam.Map(str).with_input_types(Failure[int, Any])
    with pytest.raises(TypeCheckError, match="requires PCollections of type"):
        _ = attributions.errors | "no errors" >> beam.Map(str).with_input_types(Explained)
    keys = attributions.explained | beam.Map(lambda e: e.key).with_input_types(Explained[K, V]).with_output_types(K)
    assert keys.element_type is int
    with pytest.raises(
        TypeCheckError, match=r"named expects elements of type Tuple.*'str'>, Any\]; got Tuple.*'int'>, "
    ):
        _ = pairs | "named" >> Attribute[str, Any]("nowhere", ["saliency"])
    anything = pairs | beam.Map(lambda pair: pair).with_output_types(Any)
    hinted = (anything | "of pairs" >> Attribute[int, Mapping[str, Any]]("nowhere", ["saliency"])).explained
    assert repr(hinted.element_type) == "Explained[int, Mapping[<class 'str'>, Any]]"


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (tuple[int, str], (int, str)),
        (str, (str, str)),
        (tuple[int, ...], (typehints.Any, typehints.Any)),
        (tuple[int, str] | str, (typehints.Any, typehints.Any)),
        (tuple, (typehints.Any, typehints.Any)),
        (object, (typehints.Any, typehints.Any)),
        (None, (typehints.Any, typehints.Any)),
    ],
)
def test_the_types_of_key_and_element_follow_from_those_of_the_elements(elements: Any, expected: Any) -> None:
    assert element_types(elements) == expected


def test_beam_checks_the_types_while_it_runs(model: Path, tmp_path: Path) -> None:
    """--runtime_type_check, with elements that fail and with a store."""
    options = PipelineOptions(["--runtime_type_check"])
    elements = [(1, {"image": PICTURES[0]}), (2, SHORT)]
    with beam.Pipeline(FnApiRunner(), options) as p:
        attributions = p | beam.Create(elements) | Attribute(model, ["saliency"])
        keys = attributions.explained | beam.Map(_key_of).with_input_types(Explained[int, dict[str, Any]])
        assert_that(keys, lambda got: np.testing.assert_equal(got, [1]))
        _ = attributions | WriteAttributions(tmp_path)
    p = beam.Pipeline(FnApiRunner(), options)
    anything = p | beam.Create(elements) | beam.Map(lambda pair: pair).with_output_types(Any)
    explained = (anything | Attribute(model, ["saliency"])).explained
    _ = explained | beam.Map(lambda e: e).with_input_types(Explained[str, Any])
    with pytest.raises(Exception, match=r"expected Explained\[str, Any\], got one whose key is int: 1"):
        p.run()


def test_hints_can_be_sent_to_workers() -> None:
    hint = Explained[int, dict[str, Any]]
    assert pickle.loads(pickle.dumps(hint)) == hint != Explained[str, Any] != Failure[str, Any]
    assert repr(hint) == "Explained[int, Dict[<class 'str'>, Any]]"
