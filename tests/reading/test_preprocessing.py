"""--preprocess: a function of one's own between the record and the model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines.reading import preprocess
from beam_pipelines.reading.example_parser import Parser
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.model_graph import InputSpec
from tests.pipeline_runs import Run, pictures, write_records

MINE = """
import numpy as np

def scale(record):
    return {"image": np.reshape(record["pixels"], (8, 8, 3)) / 2, "label": 2, "id": "mine " + record["key"][0].decode()}

def fail(record):
    raise KeyError("width")

class Of:
    bad = staticmethod(lambda record: 3)
    shown = staticmethod(lambda record: {"x": np.ones(2), "image": np.zeros((4, 4, 3))})
    told = staticmethod(lambda record: {"x": record["y"], "id": "another", "label": 0})

number = 7
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the current directory, new for every test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def parser(name: str) -> Parser:
    return Parser([InputSpec("x", "float32", (None, 2), "x")], preprocess=preprocess.load(name))


def test_the_function_gives_inputs_label_id_and_what_is_shown(mine: Path) -> None:
    found = parser("mine:Of.shown")({"anything": 1, "id": "its own", "label": 1}, "a:000000")
    assert (found.id, found.label) == ("its own", 1)  # of the record, where the function says nothing else
    assert found.picture is not None
    assert found.picture.startswith(b"\x89PNG")

    found = parser("mine:Of.told")({"y": [1, 2], "id": "its own", "label": 1}, "a:000000")
    assert (found.id, found.label) == ("another", 0)
    np.testing.assert_array_equal(found.inputs["x"], [1, 2])
    assert parser("mine:Of.shown")({"anything": 1}, "a:000000").id == "a:000000"


def test_features_are_renamed_before_it_and_not_behind_it(mine: Path) -> None:
    specs = [InputSpec("x", "float32", (None, 2), "x")]
    found = Parser(specs, renamed={"x": "y"}, preprocess=preprocess.load("mine:Of.told"))
    np.testing.assert_array_equal(found({"y": [1, 2]}, "a:000000").inputs["x"], [1, 2])


def test_what_is_wrong_with_one_record_costs_that_record(mine: Path) -> None:
    with pytest.raises(InputError, match="preprocess raised KeyError: 'width'"):
        parser("mine:fail")({"x": [1, 2]}, "a:000000")
    with pytest.raises(InputError, match="preprocess returned a int; expected a dict"):
        parser("mine:Of.bad")({"x": [1, 2]}, "a:000000")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mine", "expected module:function"),
        ("nowhere:f", "No module named 'nowhere'"),
        ("mine:g", "has no attribute 'g'"),
        ("mine:number", "is a int; expected a function"),
    ],
)
def test_a_name_that_is_no_function(mine: Path, name: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        preprocess.load(name)


def test_the_command_uses_it_and_a_changed_function_is_another_store(
    mine: Path, image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"pixels": row["image"], "key": str(i)} for i, row in enumerate(pictures(3))]
    source = write_records(tmp_path / "a.tfrecord", rows)
    assert image(source, "--preprocess=mine:scale") == 0
    plain = Run(image.model, tmp_path / "plain")
    halved = [{"image": row["image"] / 2, "label": 2, "id": f"mine {i}"} for i, row in enumerate(pictures(3))]
    assert plain(write_records(tmp_path / "b.tfrecord", halved)) == 0
    ours, theirs = image.maps(), plain.maps()
    assert list(ours) == list(theirs)
    for key, (row, values, _) in ours.items():
        np.testing.assert_allclose(values, theirs[key][1], rtol=1e-3, atol=1e-6)
        assert row["label"] == 2
    mine.write_text(MINE + "# another\n")
    assert image(source, "--preprocess=mine:scale", "--resume") == 2
    assert 'preprocess was "mine:scale' in capsys.readouterr().err
