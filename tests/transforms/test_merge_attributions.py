"""Several Attributes into one store, and filters between Attribute and WriteAttributions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest

import tb_deepexplain as dx
from beam_pipelines.transforms import Attribute, WriteAttributions
from beam_pipelines.transforms.merge_attributions import _Merge, merge_requests
from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.store.marker import PLUGIN_NAME
from tb_deepexplain.store.records import Attribution, Failure, Input
from tests.transforms.elements import make_elements, make_pipeline


def read(logdir: Path) -> dx.Store:
    return dx.Store(logdir / "attributions" / "plugins" / PLUGIN_NAME / "default")


def test_two_targets_and_two_sets_of_methods_in_one_store(model: Path, tmp_path: Path) -> None:
    """The maps of an example are merged, a class that both explain once; an example that fails in both is one error."""
    elements = [*make_elements()[:6], ("short", {"image": np.ones(5)})]
    with make_pipeline() as p:
        examples = p | beam.Create(elements)
        first = examples | "first" >> Attribute(model, ["saliency", "gradient_x_input"], target="label")
        second = examples | "second" >> Attribute(model, ["saliency", "deeplift"], target=1)
        manifests = (first, second) | WriteAttributions(tmp_path)
        _ = manifests | beam.Map(lambda manifest: None)
    store = read(tmp_path)
    assert [m["id"] for m in store.manifest["methods"]] == ["saliency", "gradient_x_input", "deeplift"]
    assert store.manifest["target"] == "label, 1"
    labels = [i % 3 for i in range(6)]
    expected = {(f"p{i:02}", m, k) for i, k in enumerate(labels) for m in ("saliency", "gradient_x_input")}
    expected |= {(f"p{i:02}", m, 1) for i in range(6) for m in ("saliency", "deeplift")}
    index = store.index.to_pylist()
    assert {(row["example_id"], row["method"], row["target"]) for row in index} == expected
    assert store.manifest["counts"] == {"examples": 6, "maps": len(expected), "errors": 1}
    three = {row["disagreement"] for row in index if (row["example_id"], row["target"]) == ("p01", 1)}
    assert len(three) == 1  # of the maps by all three methods
    assert None not in three


def test_filtered_examples_are_not_stored(model: Path, tmp_path: Path) -> None:
    """They are no errors, and do not count for max_error_rate either."""
    elements = [*make_elements()[:6], ("short", {"image": np.ones(5)})]
    with make_pipeline() as p:
        attributions = p | beam.Create(elements) | Attribute(model, ["saliency"])
        kept = attributions.filter(lambda explained: explained.key == "p03")
        _ = kept | WriteAttributions(tmp_path, max_error_rate=0.2)
        assert kept.explained.element_type == attributions.explained.element_type
    assert read(tmp_path).manifest["counts"] == {"examples": 1, "maps": 1, "errors": 1}


def requests(*options: dict[str, Any]) -> list[Any]:
    return [Attribute("nowhere", **{"methods": ["saliency"]} | of_one).request for of_one in options]


def test_requests_of_one_store_are_merged() -> None:
    several = requests({"batch_size": 3}, {"methods": ["occlusion", "saliency"], "target": 2})
    assert [name for name, _ in merge_requests(several).methods] == ["saliency", "occlusion"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a", "b"]}, r"differ in labels: labels is None and \('a', 'b'\)"),
        ({"step": 3, "logits": False}, "differ in step, logits: step is 0 and 3"),
        ({"methods": {"occlusion": {"step": 2}}}, r"have occlusion with {} and with {'step': 2}"),
        ({"methods": {"occlusion": {"baseline": np.ones(2)}}}, "have occlusion with {} and with"),
    ],
)
def test_attributes_that_do_not_fit_into_one_store_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        merge_requests(requests({"methods": ["occlusion"]}, {"methods": ["occlusion"]} | options))


def test_large_baselines_that_differ_are_refused() -> None:
    several = [np.zeros(3000), np.eye(1, 3000, 1500)[0]]  # which NumPy prints alike
    with pytest.raises(ParameterError, match=r"have occlusion with {'baseline': 'array \[3000\] .*'} and with"):
        merge_requests(requests(*({"methods": {"occlusion": {"baseline": baseline}}} for baseline in several)))


def test_only_the_output_of_attribute_is_written(tmp_path: Path) -> None:
    p = make_pipeline()
    with pytest.raises(ParameterError, match="expected the output of Attribute, or several in a tuple"):
        _ = p | beam.Create([1]) | WriteAttributions(tmp_path)


def merged(*outputs: tuple[int, Any]) -> tuple[list[Any], list[Any]]:
    """The maps of each example, and the errors."""
    made = list(_Merge().process(("x", outputs)))
    errors = [output.value.record for output in made if hasattr(output, "tag")]
    return [output.attributions for output in made if not hasattr(output, "tag")], errors


def test_errors_are_counted_once() -> None:
    def explained(*names: str, x: str = "a") -> Any:
        example = Input("x", "text", tokens=[x])
        return example, [Attribution("x", name, np.ones(1, np.float32), target=1) for name in names]

    bad = Failure("x", "explain", "InputError", "no")
    assert merged((1, bad), (0, bad)) == ([], [bad])
    maps, errors = merged((1, explained("b")), (0, bad), (0, explained("a")))
    assert [a.method for a in maps[0]] == ["a", "b"]
    assert errors == [bad]
    maps, errors = merged((0, explained("a")), (0, explained("a")), (1, explained("b")), (1, explained("b")))
    assert [a.method for a in maps[0]] == ["a", "b"]
    assert [error.error for error in errors] == ["DuplicateId"]


def explained_table(name: str, *values: float) -> Any:
    attribution = Attribution("x", name, np.array(values, np.float32), target=1)
    return Input("x", "tabular", values=list(values), label=int(values[0])), [attribution]


def test_maps_of_examples_with_one_id_are_kept_apart() -> None:
    """Whatever the order in which the outputs arrive, the maps are those of one of the examples."""
    first, second = ([explained_table(name, x, np.nan) for x in (1, 2)] for name in ("a", "b"))
    maps, errors = merged((1, second[1]), (0, first[0]), (1, second[0]), (0, first[1]))
    assert [(a.method, a.values[0]) for a in maps[0]] == [("a", 1), ("b", 1)]
    assert [error.error for error in errors] == ["DuplicateId"]
    maps, _ = merged((0, first[0]), (0, first[1]), (1, second[1]))  # the other failed there
    assert [(a.method, a.values[0]) for a in maps[0]] == [("a", 2), ("b", 2)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((Input("x", "text", tokens=["a"]), []), (Input("x", "image", image=b""), [])),
        (explained_table("a", 1), explained_table("b", 2)),
        (explained_table("a", 1), explained_table("b", 1, 2)),
    ],
)
def test_maps_of_different_inputs_are_refused(first: Any, second: Any) -> None:
    with pytest.raises(
        StoreError, match=r"explain different inputs of example 'x': .*; give all methods to one Attribute"
    ):
        merged((0, first), (1, second))
