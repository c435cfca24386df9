"""The table, and parameters read from signatures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import find_method


def test_ids_and_aliases_are_unique_and_stable() -> None:
    names = [n for m in dx.methods() for n in (m.id, *m.aliases)]
    assert len(names) == len(set(names))
    assert [m.id for m in dx.methods()] == [
        "saliency",
        "gradient_x_input",
        "integrated_gradients",
        "epsilon_lrp",
        "deeplift",
        "occlusion",
        "shapley_sampling",
    ]
    assert find_method("intgrad").id == "integrated_gradients"
    assert find_method("grad*input").id == "gradient_x_input"


def test_every_row_says_what_it_is() -> None:
    for method in dx.methods():
        assert method.summary
        assert "arXiv" in method.paper
        assert method.details
        assert method.limits.endswith(".")
        assert all(p.doc for p in method.parameters)
        for p in method.parameters:
            assert p.check(p.default) == p.default
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.title = ""  # type: ignore[misc]


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(dx.UnknownMethodError, match="did you mean integrated_gradients"):
        find_method("integrated_gradient")
    with pytest.raises(dx.ParameterError, match=r"no parameter 'step'; did you mean steps\?"):
        find_method("intgrad").check({"step": 5})
    with pytest.raises(dx.ParameterError, match="it takes none"):
        find_method("saliency").check({"steps": 5})


@pytest.mark.parametrize(
    ("method", "name", "text", "value"),
    [
        ("intgrad", "steps", "64", 64),
        ("intgrad", "steps", "none", None),
        ("intgrad", "tolerance", "0.05", 0.05),
        ("intgrad", "tolerance", "1", 1.0),
        ("intgrad", "quadrature", "right", "right"),
        ("intgrad", "baseline", "0.5", 0.5),
        ("occlusion", "window_shape", "4,4,1", (4, 4, 1)),
        ("occlusion", "window_shape", "(4, 4, 1)", (4, 4, 1)),
        ("occlusion", "window_shape", "4,", (4,)),
        ("occlusion", "step", "2", 2),
    ],
)
def test_command_line_values(method: str, name: str, text: str, value: Any) -> None:
    parameter = next(p for p in find_method(method).parameters if p.name == name)
    assert parameter.parse(text) == value


def test_baselines_come_from_files(tmp_path: Any) -> None:
    np.save(tmp_path / "b.npy", np.arange(3))
    parameter = next(p for p in find_method("intgrad").parameters if p.name == "baseline")
    np.testing.assert_array_equal(parameter.parse(str(tmp_path / "b.npy")), np.arange(3))
    with pytest.raises(dx.ParameterError, match="cannot read"):
        parameter.parse(str(tmp_path / "missing.npy"))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("intgrad", {"steps": 0}),
        ("intgrad", {"steps": 2.5}),
        ("intgrad", {"steps": True}),
        ("intgrad", {"tolerance": 0}),
        ("intgrad", {"tolerance": float("nan")}),
        ("intgrad", {"max_evaluations": 2}),
        ("intgrad", {"quadrature": "simpson"}),
        ("occlusion", {"window_shape": (4, 0)}),
        ("occlusion", {"window_shape": "4x4"}),
        ("occlusion", {"step": 0}),
        ("occlusion", {"step": (1.5, 1)}),
    ],
)
def test_values_out_of_bounds_are_refused(method: str, params: dict[str, Any]) -> None:
    with pytest.raises(dx.ParameterError, match=f"{next(iter(params))}=.* expected"):
        find_method(method).check(params)


def test_the_documentation_is_current() -> None:
    from beam_pipelines.cli import tables

    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    assert text == tables.markdown(), "run make docs"
    for method in dx.methods():
        assert f"`{method.id}`" in text
