"""Dockerfile and flex template agree with the code. The image itself is not built here: that takes a container engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import apache_beam
import pytest

from beam_pipelines.cli.options import explain_parser, option_names
from beam_pipelines.container.template import expand_options
from beam_pipelines.engine.resource_hints import ResourceHintOptions

_CONTAINER = Path(__file__).parents[2] / "beam_pipelines" / "container"
_PARAMETERS = json.loads((_CONTAINER / "metadata.json").read_text())["parameters"]


def test_the_template_has_only_options_of_the_command() -> None:
    known = {name.removeprefix("--") for name in option_names()} | set(ResourceHintOptions([]).get_all_options())
    assert {p["name"] for p in _PARAMETERS} <= known | {"options"}
    required = {p["name"] for p in _PARAMETERS if not p.get("isOptional")}
    assert required == {a.dest for a in explain_parser("")._actions if a.required}
    assert all(re.compile(regex) for p in _PARAMETERS for regex in p.get("regexes", []))
    assert all(set(p) <= {"name", "label", "helpText", "isOptional", "regexes"} for p in _PARAMETERS)


def test_the_template_takes_all_other_options_in_one_parameter() -> None:
    sent = ["--model=m", "--options=--occlusion.step 4 --run 'a b'", "--runner=DataflowRunner"]
    assert expand_options(sent) == ["--model=m", "--runner=DataflowRunner", "--occlusion.step", "4", "--run", "a b"]


@pytest.mark.parametrize("stage", ["worker", "template"])
def test_the_dockerfile(stage: str) -> None:
    dockerfile = (_CONTAINER / "Dockerfile").read_text()
    assert f"ARG BEAM={apache_beam.__version__}\n" in dockerfile
    assert f" AS {stage}\n" in dockerfile
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in dockerfile
    for path in re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE):
        assert path == "dist/*.whl" or (_CONTAINER.parents[1] / path).exists()
