"""A request is checked where it is made, before a model is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from tb_deepexplain.errors import DeepExplainError, ParameterError, UnknownMethodError
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.recording.targets import Target


def test_aliases_become_ids_and_parameters_are_checked() -> None:
    request = make_request(
        "model", {"intgrad": {"steps": 20}}, measures=["deletion"], target=3, labels=["a", "b"], step=7
    )
    assert request.methods == (("integrated_gradients", {"steps": 20}),)
    assert request.measures == (("deletion", {}),)
    assert (request.target, request.labels, request.vocabulary, request.step) == (
        Target("class", 3),
        ("a", "b"),
        None,
        7,
    )


def test_mixed_precision_is_a_precision() -> None:
    precisions = [{}, {"mixed_precision": True}, {"precision": "tf32"}, {"precision": None}, {"precision": "float32"}]
    requests = [make_request("m", ["saliency"], **options) for options in precisions]
    assert [request.precision for request in requests] == ["float32", "mixed", "tf32", "float32", "float32"]
    assert requests[2].on_cpu().precision == "float32"
    assert make_request("m", ["saliency"], precision="float64").on_cpu().precision == "float64"
    with pytest.raises(ParameterError, match="precision='half': expected float32, tf32, mixed or float64"):
        make_request("m", ["saliency"], precision="half")  # type: ignore[arg-type]


def test_a_single_name_is_no_list_of_letters() -> None:
    request = make_request("m", ["saliency"], inputs="photo", custom_objects="collections:Counter")
    assert (request.inputs, request.custom_objects) == (("photo",), ("collections:Counter",))


@pytest.mark.parametrize("target", ["predicted", "label", "top:2", "sum"])
def test_a_target_is_text_or_a_target(target: str) -> None:
    assert make_request("m", ["saliency"], target=target) == make_request(
        "m", ["saliency"], target=Target.parse(target)
    )


@pytest.mark.parametrize(
    ("methods", "options", "error"),
    [
        ([], {}, ParameterError),
        (["nonsense"], {}, UnknownMethodError),
        ({"saliency": {"steps": 1}}, {}, ParameterError),
        (["saliency"], {"measures": ["nonsense"]}, DeepExplainError),
        (["saliency"], {"target": "top:0"}, ParameterError),
        (["saliency"], {"labls": ["a"]}, TypeError),
    ],
)
def test_a_mistake_is_an_error(methods: Any, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_request("model", methods, **options)
