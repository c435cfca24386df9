"""The kinds of elements that pipelines hold, on Beam's local runner."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.io import fileio
from apache_beam.io.filesystem import FileMetadata
from apache_beam.ml.inference.base import PredictionResult
from PIL import Image

import tb_deepexplain as dx
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.transforms import Attribute, Explained, digest
from beam_pipelines.transforms.element_kinds import RecordMaker
from beam_pipelines.transforms.element_parser import key_text
from tb_deepexplain.errors import InputError
from tb_deepexplain.graph.input_spec import InputSpec
from tests import models
from tests.transforms.elements import PICTURES, make_pipeline

BYTES = (PICTURES[:12] * 255).astype(np.uint8)
RNG = np.random.default_rng(1)
OUTPUTS: dict[str, list[Any]] = {}  # of the last pipeline, which runs in this process
NUMBERS, IDS = RNG.random((5, 4)).astype(np.float32), RNG.integers(1, 9, (5, 6))


class Columns(NamedTuple):
    numbers: list[float]
    ids: list[int]


@dataclasses.dataclass
class ColumnsOfDataclass:
    numbers: list[float]
    ids: list[int]


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def _example(**columns: Any) -> tf.train.Example:
    features = {}
    for name, values in columns.items():
        kind = "float_list" if np.asarray(values).dtype.kind == "f" else "int64_list"
        features[name] = tf.train.Feature(**{kind: {"value": np.ravel(values).tolist()}})
    return tf.train.Example(features=tf.train.Features(feature=features))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An exported model of tests.models by its name."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def export(name: str, **options: Any) -> Path:
        if name not in made:
            made[name] = folder / name
            getattr(models, name)(**options).export(made[name], verbose=False)
        return made[name]

    return export


def _outputs(model: Path, elements: Any, **options: Any) -> tuple[list[Explained], list[Any]]:
    """Explained and failures of a pipeline over elements, or over what a transform of a pipeline makes."""
    OUTPUTS["explained"], OUTPUTS["errors"] = [], []
    with make_pipeline() as p:
        source = elements if callable(elements) else lambda p: p | beam.Create([0]) | beam.FlatMap(lambda _: elements)
        attributions = source(p) | Attribute(model, ["saliency"], max_error_rate=1, **options)
        _ = attributions.explained | "Keep" >> beam.Map(_keep, "explained")
        _ = attributions.errors | "Keep errors" >> beam.Map(_keep, "errors")
    return OUTPUTS["explained"], OUTPUTS["errors"]


def _keep(output: Any, name: str) -> None:
    OUTPUTS[name].append(output)


def _assert_maps(explained: list[Explained], model: Path, expected: dict[Any, Any]) -> None:
    """That the keys are those of `expected`, and each map that of the arrays there."""
    assert len(explained) == len(expected)
    for output in explained:
        inputs = expected[output.key]
        batch = {name: value[None] for name, value in inputs.items()} if isinstance(inputs, dict) else inputs[None]
        literal = dx.explain("saliency", model, batch, target="predicted")
        values = np.ravel(output.attributions[0].values)
        if isinstance(
            literal, dict
        ):  # ids have a map for each token in a store, and one for each number of its embedding here
            literal, values = literal["numbers"], values[-inputs["numbers"].size :]
        np.testing.assert_allclose(values, np.ravel(literal), rtol=2e-2, atol=2e-4)


def test_pictures(model: Path, tmp_path: Path) -> None:
    """Arrays, encoded pictures, files and predictions, keyed or not; the element is unchanged."""
    pictures = BYTES.astype(np.float32)
    encoded = [_png(picture) for picture in BYTES]
    (tmp_path / "five.png").write_bytes(encoded[5])
    file = fileio.ReadableFile(FileMetadata(str(tmp_path / "five.png"), 1))
    elements = [
        pictures[0],
        (1, tf.constant(pictures[1])),
        encoded[2],
        ("three.png", encoded[3]),
        ("four", pictures[4].tolist()),
        file,
        PredictionResult(pictures[6], {"class": 1}),
        (7, PredictionResult(encoded[7], np.ones(3))),
        PredictionResult((8, {"image": pictures[8]}), "a"),
        beam.Row(image=pictures[9], label=2),
        {"pixels": encoded[10]},
        _example(image=pictures[11] / 255),
    ]
    explained, errors = _outputs(model, elements)
    assert not errors
    keys = [
        digest(pictures[0]), 1, digest(encoded[2]), "three.png", "four", str(tmp_path / "five.png"), digest(pictures[6]), 7, 8,
        digest({"image": pictures[9], "label": 2}), digest({"pixels": encoded[10]}),
        digest(elements[11].SerializeToString()),
    ]  # fmt: skip
    assert len(set(keys)) == 12
    _assert_maps(explained, model, dict(zip(keys, [*pictures[:11], pictures[11] / 255], strict=True)))
    values = {
        key: element[1] if type(element) is tuple else element for key, element in zip(keys, elements, strict=True)
    }
    for output in explained:
        assert type(output.element) is type(values[output.key])
        if isinstance(output.element, PredictionResult):
            np.testing.assert_equal(output.element.inference, values[output.key].inference)
    assert next(o for o in explained if o.key == "three.png").input.image == encoded[3]


def test_files_that_beam_matches(model: Path, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(_png(BYTES[i]))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    explained, errors = _outputs(model, lambda p: p | fileio.MatchFiles(str(tmp_path / "*.png")) | fileio.ReadMatches())
    _assert_maps(explained, model, {str(tmp_path / f"{i}.png"): BYTES[i].astype(np.float32) for i in range(3)})
    assert [(error.key, error.example_id) for error in errors] == [(str(tmp_path / "bad.png"),) * 2]
    assert "cannot be decoded" in errors[0].message


def test_texts(exported: Any) -> None:
    model = exported("text", strings=True)
    elements = [
        "a great film",
        (b"key", "not dull"),
        b"the dull film",
        (4, beam.Row(text="great")),
        {"other": "a film"},
    ]
    explained, errors = _outputs(model, elements)
    assert not errors
    tokens = {output.key: output.input.tokens for output in explained}
    assert tokens[digest("a great film")] == ["a", "great", "film"]
    assert tokens[b"key"] == ["not", "dull"] and tokens[4] == ["great"]
    assert tokens[digest(b"the dull film")] == ["the", "dull", "film"]
    assert len(explained) == 5


def test_rows_of_several_inputs(exported: Any) -> None:
    model = exported("two_inputs")
    rows = [{"numbers": numbers, "ids": ids} for numbers, ids in zip(NUMBERS, IDS, strict=True)]
    elements = [
        (0, rows[0]),
        (1, beam.Row(**rows[1])),
        (2, Columns(NUMBERS[2].tolist(), IDS[2].tolist())),
        (3, _example(**rows[3])),
        (4, ColumnsOfDataclass(NUMBERS[4].tolist(), IDS[4].tolist())),
    ]
    serialized = ("bytes", elements[3][1].SerializeToString())
    explained, errors = _outputs(model, [*elements, serialized, PredictionResult(elements[1], 0.5)])
    assert not errors
    assert len(explained) == 7
    explained = [output for output in explained if not isinstance(output.element, PredictionResult)]
    _assert_maps(explained, model, {**dict(enumerate(rows)), "bytes": rows[3]})


def test_other_elements_are_told_what_to_write(exported: Any, model: Path) -> None:
    name_it = 'insert `| beam.MapTuple(lambda key, x: (key, {"ids": x, "numbers": …}))` before Attribute'
    cases = {
        "array": (NUMBERS[0], f"(ids: int32 [?, 6]; numbers: float32 [?, 4]); name the values: {name_it}"),
        "text": ("a text", "the element is the text 'a text', but the model has 2 inputs"),
        "csv": ("1,2", '(key, dict(zip(["ids", "numbers"], x.split(",")))))` before Attribute'),
        "json": ('{"ids": [1]}', "beam.MapTuple(lambda key, x: (key, json.loads(x)))"),
        "picture": (_png(BYTES[0]), "bytes (b'\\x89PNG\\r\\n\\x1a\\n'…), but the model has 2 inputs"),
        "tuple": ((NUMBERS[0], IDS[0], 1), 'the element is a tuple of 3; expected a dict, beam.Row, '),
        "set": ({1}, "the element is of type set; expected a dict"),
        "none": (None, "the element is None; expected a dict"),
    }  # fmt: skip
    _, errors = _outputs(exported("two_inputs"), [(key, value) for key, (value, _) in cases.items()])
    assert {error.key for error in errors} == set(cases)
    for error in errors:
        assert (error.stage, error.error) == ("parse", "InputError")
        assert cases[error.key][1] in error.message
    assert '(key, {"ids": x[0], "numbers": x[1]})' in next(e for e in errors if e.key == "tuple").message
    maker = RecordMaker([InputSpec("x", "float32", (None, 3), "x")], RecordSpec())
    assert maker.record("1 2 3") == {"x": "1 2 3"} and maker.record("[1, 2, 3]") == {"x": "[1, 2, 3]"}
    with pytest.raises(
        InputError, match=r"takes numbers .* `\| beam.Map\(lambda x: \{\"x\": \[float\(part\) for part in x.split"
    ):
        maker.record("1,2,3")
    columns = RecordMaker([InputSpec(f"column {i}", "float32", (None, 1), "x") for i in range(200)], RecordSpec())
    with pytest.raises(InputError, match="200 inputs") as raised:
        columns.record(np.ones(200))
    assert len(str(raised.value)) < 500
    _, errors = _outputs(model, [(PICTURES[0], 1), (_png(BYTES[0]), 2)])
    for error, key in zip(errors, ("an array of shape [8, 8, 3]", "bytes (b'\\x89PNG"), strict=True):
        assert key in error.message
        assert '`| beam.Map(lambda x: {"image": x[0], "label": x[1]})`' in error.message


@pytest.mark.parametrize(("key", "text"), [(7, "7"), (b"r-2", "r-2"), (b"\xff", "b'\\xff'"), (("a", 1), "('a', 1)")])
def test_the_id_is_the_key_as_text(key: Any, text: str) -> None:
    assert key_text(key) == text
