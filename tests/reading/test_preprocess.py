"""--preprocess: a user's function between the record and the model."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.reading import preprocess
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.preprocess import load_preprocess
from beam_pipelines.reading.record_spec import RecordSpec
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.input_spec import InputSpec
from tests.pipeline_runs import Run, pictures, write_records
from tests.watched_lock import WatchedLock

MINE = """
import numpy as np

def scale(record):
    return {"image": np.reshape(record["pixels"], (8, 8, 3)) / 2, "label": 2, "id": "mine " + record["key"][0].decode()}

def fail(record):
    raise KeyError("width")

class Of:
    bad = staticmethod(lambda record: 3)
    shown = staticmethod(lambda record: {"x": np.ones(2), "image": np.zeros((4, 4, 3))})
    renamed = staticmethod(lambda record: {"x": record["y"], "id": "another", "label": 0})

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


def parser(name: str, **options: Any) -> ExampleParser:
    return ExampleParser([InputSpec("x", "float32", (None, 2), "x")], RecordSpec(preprocess=name, **options))


def test_the_function_returns_inputs_label_id_and_picture(mine: Path) -> None:
    example = parser("mine:Of.shown").parse({"anything": 1, "id": "its own", "label": 1}, "a:000000")
    assert (example.id, example.label) == ("its own", 1)  # of the record, unless the function returns others
    assert example.pictures["x"].startswith(b"\x89PNG")

    example = parser("mine:Of.renamed").parse({"y": [1, 2], "id": "its own", "label": 1}, "a:000000")
    assert (example.id, example.label) == ("another", 0)
    np.testing.assert_array_equal(example.inputs["x"], [1, 2])
    assert parser("mine:Of.shown").parse({"anything": 1}, "a:000000").id == "a:000000"


def test_names_of_features_do_not_apply_to_what_it_returns(mine: Path) -> None:
    example = parser("mine:Of.renamed", features={"x": "y"}).parse({"y": [1, 2]}, "a:000000")
    np.testing.assert_array_equal(example.inputs["x"], [1, 2])


def test_importing_it_leaves_sys_path_unchanged(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_path = [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    monkeypatch.setattr(sys, "path", list(search_path))
    assert load_preprocess("mine:scale").__name__ == "scale"
    assert sys.path == search_path
    with pytest.raises(ParameterError, match="No module named 'nowhere'"):
        load_preprocess("nowhere:f")
    assert sys.path == search_path


def test_an_error_of_the_function_is_an_error_of_the_record(mine: Path) -> None:
    with pytest.raises(InputError, match="preprocess raised KeyError: 'width'"):
        parser("mine:fail").parse({"x": [1, 2]}, "a:000000")
    with pytest.raises(InputError, match="preprocess returned a int; expected a dict"):
        parser("mine:Of.bad").parse({"x": [1, 2]}, "a:000000")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mine", "expected module:function"),
        ("nowhere:f", "No module named 'nowhere'"),
        ("mine:g", "has no attribute 'g'"),
        ("mine:number", "is a int; expected a function"),
    ],
)
def test_a_name_that_is_not_a_function(mine: Path, name: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        load_preprocess(name)


def test_the_command_uses_it_and_a_changed_function_cannot_resume(
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


def test_threads_call_the_function_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, calls = WatchedLock(), list[str]()

    def function(record: Mapping[str, Any]) -> Mapping[str, Any]:
        name = record["id"]
        calls.append(f"{name} begins")
        if name == "first":
            second.start()
            assert lock.arrived.wait(60)
        lock.arrived.set()
        calls.append(f"{name} ends")
        return record

    monkeypatch.setattr(preprocess, "one_at_a_time", lock, raising=False)
    specs = [InputSpec("x", "float32", (None, 2), "x")]
    parsers = [ExampleParser(specs, RecordSpec(preprocess=function)) for _ in range(2)]  # of two devices
    second = threading.Thread(target=lambda: parsers[1].parse({"x": [1, 2], "id": "second"}, "b"))
    parsers[0].parse({"x": [1, 2], "id": "first"}, "a")
    second.join()
    assert calls == ["first begins", "first ends", "second begins", "second ends"]
