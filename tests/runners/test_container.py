"""What is said of containers fits the code: the recipe is not built here, for want of an engine that builds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import apache_beam
import pytest

from beam_pipelines.cli.options import explain_parser, option_names
from beam_pipelines.container.template import unfold
from beam_pipelines.engine.runners import HintOptions

_CONTAINER = Path(__file__).parents[2] / "beam_pipelines" / "container"
_PARAMETERS = json.loads((_CONTAINER / "metadata.json").read_text())["parameters"]


def test_a_template_asks_only_for_options_that_exist() -> None:
    known = {name.removeprefix("--") for name in option_names()} | set(HintOptions([]).get_all_options())
    assert {p["name"] for p in _PARAMETERS} <= known | {"options"}
    needed = {p["name"] for p in _PARAMETERS if not p.get("isOptional")}
    assert needed == {a.dest for a in explain_parser("")._actions if a.required}
    assert all(re.compile(regex) for p in _PARAMETERS for regex in p.get("regexes", []))
    assert all(set(p) <= {"name", "label", "helpText", "isOptional", "regexes"} for p in _PARAMETERS)


def test_a_template_takes_all_other_options_in_one() -> None:
    sent = ["--model=m", "--options=--occlusion.step 4 --run 'a b'", "--runner=DataflowRunner"]
    assert unfold(sent) == ["--model=m", "--runner=DataflowRunner", "--occlusion.step", "4", "--run", "a b"]


@pytest.mark.parametrize("stage", ["worker", "template"])
def test_the_recipe(stage: str) -> None:
    recipe = (_CONTAINER / "Dockerfile").read_text()
    assert f"ARG BEAM={apache_beam.__version__}\n" in recipe
    assert f" AS {stage}\n" in recipe
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in recipe
    for path in re.findall(r"^COPY (?!--from)(\S+) ", recipe, re.MULTILINE):
        assert path == "dist/*.whl" or (_CONTAINER.parents[1] / path).exists()
