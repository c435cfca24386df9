"""The table of methods: rows, their parameters and costs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import TABLE, Family, Method, check_methods, find_method
from tb_deepexplain.attribution.score import Explanation, Score
from tb_deepexplain.registry.formula import Formula
from tb_deepexplain.registry.parameters import Baseline, Role
from tb_deepexplain.registry.table import RESERVED
from tests import models


def test_ids_and_aliases_are_unique() -> None:
    names = [n for m in dx.methods() for n in (m.id, *m.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("saliency", "saliency"),
        ("gradient_x_input", "gradient_x_input"),
        ("grad*input", "gradient_x_input"),
        ("integrated_gradients", "integrated_gradients"),
        ("intgrad", "integrated_gradients"),
        ("epsilon_lrp", "epsilon_lrp"),
        ("elrp", "epsilon_lrp"),
        ("deeplift", "deeplift"),
        ("occlusion", "occlusion"),
        ("shapley_sampling", "shapley_sampling"),
    ],
)
def test_names_that_stores_and_scripts_use_stay_known(name: str, method: str) -> None:
    assert find_method(name).id == method


def test_every_row_describes_its_method() -> None:
    for method in dx.methods():
        assert method.summary
        assert re.search(r"\b(19|20)\d\d\b", method.paper), "name the authors and the year"
        assert method.details
        assert method.limits.endswith(".")
        assert method.family in get_args(Family)
        assert all(p.doc for p in method.parameters)
        for p in method.parameters:
            assert p.check(p.default) == p.default
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.title = ""  # type: ignore[misc]


def test_unknown_names_suggest_similar_ones() -> None:
    with pytest.raises(dx.UnknownMethodError, match="did you mean integrated_gradients"):
        find_method("integrated_gradient")
    with pytest.raises(dx.ParameterError, match=r"no parameter 'step'; did you mean steps\?"):
        find_method("intgrad").check({"step": 5})
    with pytest.raises(dx.ParameterError, match="it takes none"):
        find_method("saliency").check({"steps": 5})
    with pytest.raises(dx.ParameterError, match=r"'batch_size'; that goes to run\(\)"):
        find_method("saliency").check({"batch_size": 5})


def test_selections_of_another_form_are_refused() -> None:
    with pytest.raises(dx.ParameterError, match="methods: expected names, or a dict of names and parameters; got int"):
        check_methods(3)  # type: ignore[arg-type]
    with pytest.raises(dx.ParameterError, match="methods: occlusion: expected a dict of parameters, got None"):
        check_methods({"saliency": {}, "occlusion": None})  # type: ignore[dict-item]


def _row(function: Any, **fields: Any) -> Method:
    defaults = {"title": "", "family": "gradient", "paper": "", "limits": "", "cost": Formula("1")}
    return Method(**{"function": function, "signed": True, "sums_to": None, **defaults, **fields})


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_of_parameters_are_refused_when_a_row_is_made(name: str) -> None:
    def method(score: Score) -> Explanation:
        raise NotImplementedError  # only its signature is read

    method.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=1, annotation=int)]
    )
    method.__annotations__[name] = int
    with pytest.raises(dx.ParameterError, match=rf"method: a parameter cannot be called {name}.*rename it"):
        _row(method)


def test_all_arguments_of_the_calls_that_take_parameters_are_reserved() -> None:
    calls = (dx.explain, dx.evaluate, dx.Explainer.__init__, dx.Explainer.run)
    arguments = {
        p.name for call in calls for p in inspect.signature(call).parameters.values() if p.kind is not p.VAR_KEYWORD
    }
    assert arguments - {"self"} == set(RESERVED)


def test_formulas_are_refused_that_use_unknown_names() -> None:
    def method(score: Score, *, samples: int = 1) -> Explanation:
        raise NotImplementedError  # only its signature is read

    assert _row(method, cost=Formula("samples + 1")).cost_of({}) == 2
    with pytest.raises(dx.ParameterError, match="method: cost uses steps; expected parameters or quantities: samples"):
        _row(method, cost=Formula("steps + 1"))
    with pytest.raises(dx.ParameterError, match="values_per_feature uses steps"):
        _row(method, values_per_feature=Formula("steps"))


COSTS: dict[str, list[dict[str, Any]]] = {
    "integrated_gradients": [
        {"steps": 7},
        {"steps": 3, "quadrature": "right"},
        {"max_evaluations": 5, "tolerance": 1e-9},
    ],
    "occlusion": [{"window_shape": (4, 4, 3), "step": 2}, {"window_shape": (2, 8, 3), "step": (1, 1, 1)}],
    "shapley_sampling": [
        {"sampling_dims": (1,), "samples": 3},
        {"sampling_dims": (2, 1), "samples": 2, "estimator": "permutation"},
        {"sampling_dims": (3,), "samples": 8, "estimator": "kernel"},  # fewer coalitions exist
    ],
}


@pytest.mark.parametrize(("method", "parameters"), [(m.id, p) for m in TABLE for p in [{}, *COSTS.get(m.id, [])]])
def test_the_cost_is_the_evaluations_that_are_reported(method: str, parameters: dict[str, Any]) -> None:
    explainer = dx.Explainer(method, models.graph(models.image), target=0, **parameters)
    xs = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    evaluations = explainer.run(xs, return_result=True).evaluations
    cost = explainer.cost(xs)
    exact = (
        not explainer.method.cost.upper_bound or parameters.get("steps") or parameters.get("estimator") == "permutation"
    )
    assert (evaluations == cost).all() if exact else (evaluations <= cost).all(), (evaluations, cost)


def test_the_cost_of_texts_and_of_several_inputs_counts_tokens_and_inputs() -> None:
    for method in TABLE:
        for model, xs in (
            (models.graph(models.text, mask_zero=False), np.array([[3, 4, 5], [2, 2, 1]])),
            (models.graph(models.two_inputs), {"numbers": np.ones((2, 4)), "ids": np.ones((2, 6), int)}),
        ):
            options = (
                {"on_unsupported": "gradient"} if any(p.name == "on_unsupported" for p in method.parameters) else {}
            )
            explainer = dx.Explainer(method.id, model, target=0, **options)
            evaluations = explainer.run(xs, return_result=True).evaluations
            assert (evaluations <= explainer.cost(xs)).all()
            if not method.cost.upper_bound or method.sampled:
                assert (evaluations == explainer.cost(xs)).all()


def test_costs_are_read_as_they_are_computed() -> None:
    assert str(find_method("shapley_sampling").cost) == "at most samples · (players − 1) + 2"
    assert find_method("shapley_sampling").cost_of({"samples": 4}, [(8, 8, 3)], [False]) == 4 * 191 + 2
    assert str(find_method("saliency").cost) == "1"


def test_roles_of_parameters_are_properties_of_their_row() -> None:
    def method(score: Score, *, start: Baseline = 0.0) -> Explanation:
        raise NotImplementedError  # only its signature is read

    row = _row(method)
    assert (row.baseline_parameter, row.map_axes_parameter) == ("start", None)
    assert row.baseline({"start": 2.0}) == 2.0
    assert row.with_baseline({}, 3.0) == {"start": 3.0}
    assert row.with_baseline({"start": 1.0}, 3.0) == {"start": 1.0}
    assert find_method("saliency").with_baseline({}, 3.0) == {}
    assert find_method("saliency").baseline({}) is None
    assert {m.id for m in TABLE if m.baseline_parameter} >= {m.id for m in TABLE if m.sums_to}
    assert all(len([p for p in m.parameters if p.role is role]) < 2 for m in TABLE for role in Role)


def test_the_tables_and_help_import_no_tensorflow() -> None:
    script = (
        "import contextlib, io, sys\n"
        "from beam_pipelines.cli.main import main\n"
        "commands = [['methods'], ['methods', 'deeplift'], ['measures'], ['measures', 'road'], ['explain', '--help'],\n"
        "            ['evaluate', '--help'], ['demo', '--help'], ['--help']]\n"
        "for command in commands:\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        assert main(command) == 0, command\n"
        "    heavy = {'tensorflow', 'keras', 'apache_beam'} & set(sys.modules)\n"
        "    assert not heavy, (command, heavy, 'import it where it is used, or from tb_deepexplain.lazy_tensorflow')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


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


def test_baselines_are_read_from_files(tmp_path: Any) -> None:
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
    from beam_pipelines.cli import reference_pages

    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    assert text == reference_pages.write_methods(), "run make docs"
    for method in dx.methods():
        assert f"`{method.id}`" in text
