"""`explain`: SavedModels and TFRecords through the local runner, and the store that is written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from PIL import Image

import tb_deepexplain as dx
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.stats.rank_correlation import disagreement
from tb_deepexplain.store.marker import read_marker
from tb_deepexplain.store.records import value_names
from tests import models
from tests.closeness import assert_map_close, assert_maps_close
from tests.models import VOCABULARY
from tests.pipeline_runs import Run, assert_same, pictures, write_records
from tests.reading import format_writers

Exported = Callable[[str], Path]


def test_pictures_as_floats(image: Run, tmp_path: Path) -> None:
    examples = pictures(20)
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nfish\n")
    source = write_records(tmp_path / "a.tfrecord", examples)
    status = image(
        source, f"--labels={labels}", "--occlusion.window_shape", "2,2,3", methods="intgrad,saliency,occlusion"
    )
    assert status == 0
    manifest = image.store.manifest
    assert manifest["counts"] == {"examples": 20, "maps": 60, "errors": 0}
    assert (manifest["modality"], manifest["name"], manifest["target"], manifest["step"]) == (
        "image",
        "default",
        "predicted",
        0,
    )
    assert manifest["labels"] == ["cat", "dog", "fish"]
    assert [m["id"] for m in manifest["methods"]] == ["integrated_gradients", "saliency", "occlusion"]
    assert manifest["methods"][2]["parameters"]["window_shape"] == [2, 2, 3]
    assert manifest["methods"][0]["parameters"]["max_evaluations"] == 512
    maps = image.maps()
    assert [key[:2] for key in maps][:3] == [("a:000000", m["id"]) for m in manifest["methods"]]

    # The same values as from the explainer.
    x = np.stack([e["image"] for e in examples])
    explainer = dx.Explainer("integrated_gradients", str(image.model))
    direct = explainer.run(x, target="predicted", return_result=True)
    predictions = explainer.predict(x)
    for i, (row, values, shown) in enumerate(
        v for (_, method, _), v in maps.items() if method == "integrated_gradients"
    ):
        assert_map_close(values, direct.attributions[i], share=1e-3)
        assert row["score"] == pytest.approx(predictions.outputs[i].max(), rel=1e-4)
        assert predictions.probabilities is not None
        assert row["probability"] == pytest.approx(predictions.probabilities[i].max(), rel=1e-4)
        assert row["predicted"] == row["target"] == predictions.outputs[i].argmax()
        assert row["target_label"] == ["cat", "dog", "fish"][row["target"]]
        assert (row["label"], row["label_name"]) == (i % 3, ["cat", "dog", "fish"][i % 3])
        assert row["loss"] == pytest.approx(-np.log(predictions.probabilities[i][i % 3]), rel=1e-3)
        top = np.sort(predictions.probabilities[i])
        assert row["margin"] == pytest.approx(top[-1] - top[-2], rel=1e-3, abs=1e-5)
        sizes = np.sort(np.abs(values), axis=None)
        share = sizes[-max(1, round(sizes.size / 100)) :].sum() / sizes.sum()
        assert row["concentration"] == pytest.approx(share, rel=2e-2)
        both = [m[1] for (id_, _, _), m in maps.items() if id_ == row["example_id"]]
        assert row["disagreement"] == pytest.approx(disagreement(both), abs=0.02)
        rounding = 1e-5 * (np.abs(values).sum() + abs(row["score"]))
        assert abs(row["gap"]) <= 0.011 * abs(row["score"] - row["baseline_score"]) + rounding
        assert shown["modality"] == "image"
        pixels = np.asarray(Image.open(io.BytesIO(shown["image"])))
        np.testing.assert_allclose(pixels, examples[i]["image"] * 255, atol=0.51)
    assert maps["a:000000", "saliency", maps_target(maps, "a:000000")][0]["gap"] is None
    (event,) = (image.logdir / "r").glob("events.out.*")
    assert read_marker_of(event) == "default"


def maps_target(maps: dict[tuple[str, str, int | None], Any], example: str) -> int | None:
    return next(target for example_id, _, target in maps if example_id == example)


def read_marker_of(path: Path) -> str | None:
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            return read_marker(value.metadata.plugin_data.content)
    return None


def test_a_label_outside_the_classes_is_an_error(image: Run, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("cat\ndog\nfish\n")
    rows = [{**row, "label": label} for row, label in zip(pictures(5), (-1, 0, 2, 3, -3), strict=True)]
    source = write_records(tmp_path / "a.tfrecord", rows)
    assert image(source, f"--labels={tmp_path / 'labels'}", methods="saliency") == 1
    labels = [(row["label"], row["label_name"]) for row in image.store.index.to_pylist()]
    assert labels == [(None, None), (0, "cat"), (2, "fish"), (None, None)]  # negative: there is no label
    assert [error["example_id"] for error in image.store.errors().to_pylist()] == ["a:000003"]


def test_a_label_feature_that_no_example_has_is_refused(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(5))
    assert image(source, "--label_feature=lable") == 2
    sentence = (
        "--label_feature lable: none of the first 5 records has this feature; they have image, label: correct the name"
    )
    assert sentence in capsys.readouterr().err
    assert not image.directory.exists()


def test_encoded_pictures_are_stored_unchanged(image: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    encoded = [tf.io.encode_png(pixels).numpy(), tf.io.encode_jpeg(pixels).numpy()]
    assert image(write_records(tmp_path / "a.tfrecord", [{"image": e} for e in encoded])) == 0
    assert [image.store.inputs([row])[0]["image"] for row in (0, 2)] == encoded
    decoded = tf.io.decode_jpeg(encoded[1]).numpy().astype(np.float32)
    expected = dx.Explainer("saliency", str(image.model)).run(decoded[None], target="predicted")[0]
    assert_map_close(image.store.maps([2])[0], expected, share=1e-3)


def test_token_ids(exported: Exported, tmp_path: Path) -> None:
    run = Run(exported("text"), tmp_path / "logs")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["", "[UNK]", *VOCABULARY]) + "\n")
    ids = [[7, 6, 4, 0, 0], [2, 0, 5, 1, 0]]
    source = write_records(tmp_path / "a.tfrecord", [{"ids": row, "label": 1} for row in ids])
    assert run(source, f"--vocab={vocabulary}", "--target=label", methods="gradient_x_input,occlusion") == 0
    assert run.store.manifest["modality"] == "text"
    assert run.store.inputs([0, 2])[0]["tokens"] == ["the", "not", "film", "", ""]
    assert run.store.inputs([0, 2])[1]["tokens"] == ["a", "0", "great", "[UNK]", ""]
    expected = dx.Explainer("gradient_x_input", str(run.model)).run(np.array(ids), target=1, return_result=True)
    assert_maps_close(run.store.maps([0, 2]), expected.tokens, share=1e-3)
    assert run.store.index.column("target").to_pylist() == [1] * 4


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_file_of_keras_2_whose_token_ids_are_floats(tmp_path: Path) -> None:
    ids = tf_keras.Input((5,), name="ids")
    x = tf_keras.layers.Embedding(9, 4, mask_zero=True, embeddings_initializer="normal")(ids)
    tf_keras.Model(ids, tf_keras.layers.Dense(2)(tf_keras.layers.LSTM(4)(x))).save(tmp_path / "old.h5")
    run, row = Run(tmp_path / "old.h5", tmp_path / "logs"), [7, 6, 4, 0, 0]
    assert run(write_records(tmp_path / "a.tfrecord", [{"ids": row}]), methods="gradient_x_input") == 0
    assert run.store.manifest["modality"] == "text"
    assert run.store.inputs([0])[0]["tokens"] == ["7", "6", "4", "", ""]
    expected = dx.Explainer("gradient_x_input", run.model, target="predicted").run(np.array([row]), return_result=True)
    assert_maps_close(run.store.maps([0]), expected.tokens, share=1e-3)


def test_texts_of_different_lengths_do_not_influence_each_other(exported: Exported, tmp_path: Path) -> None:
    run = Run(exported("text"), tmp_path / "logs")
    rows = [[7, 6, 4], [2, 5], [3, 3, 3], [4, 2]]
    assert run(write_records(tmp_path / "a.tfrecord", [{"ids": row} for row in rows]), methods="saliency") == 0
    assert [m.shape for m in run.store.maps(range(4))] == [(3,), (2,), (3,), (2,)]
    assert [i["tokens"] for i in run.store.inputs([0, 1])] == [["7", "6", "4"], ["2", "5"]]


def test_raw_strings(exported: Exported, tmp_path: Path) -> None:
    run = Run(exported("strings"), tmp_path / "logs")
    texts = ["the film not dull", "great", "not great", "a great great film", "film"]
    source = write_records(tmp_path / "a.tfrecord", [{"text": t} for t in texts])
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["", "[UNK]", *VOCABULARY]))
    assert run(source, f"--vocab={vocabulary}", methods="saliency") == 0
    assert [i["tokens"] for i in run.store.inputs(range(5))] == [t.split() for t in texts]
    alone = Run(run.model, tmp_path / "alone")
    assert alone(source, f"--vocab={vocabulary}", "--batch_size=1", methods="saliency") == 0
    assert_same(run, alone)


def test_a_sigmoid_explains_the_class_it_predicts(exported: Exported, tmp_path: Path) -> None:
    run = Run(exported("binary"), tmp_path / "logs")
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    assert run(write_records(tmp_path / "a.tfrecord", [{"x": row} for row in x]), methods="integrated_gradients") == 0
    rows = run.store.index.to_pylist()
    logits = dx.Explainer("saliency", str(run.model)).predict(x).outputs[:, 0]
    assert {row["predicted"] for row in rows} == {0, 1}
    for row, logit, values, shown in zip(
        rows, logits, run.store.maps(range(30)), run.store.inputs(range(30)), strict=True
    ):
        assert row["target"] == row["predicted"] == int(logit > 0)
        assert row["score"] == pytest.approx(abs(logit), rel=1e-4)
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(-abs(logit))), rel=1e-3)
        assert values.sum() == pytest.approx(row["score"] - row["baseline_score"], rel=0.02, abs=1e-3)
        assert shown["inputs"] == [{"name": "x", "dtype": "float32", "shape": [4], "axes": ["feature"]}]
        assert value_names(shown["inputs"], shown["features"]) == ["x[0]", "x[1]", "x[2]", "x[3]"]


def test_several_numeric_inputs_become_one_row(exported: Exported, tmp_path: Path) -> None:
    run = Run(exported("columns"), tmp_path / "logs")
    sizes = np.arange(4.0).reshape(2, 2)
    assert run(write_records(tmp_path / "a.tfrecord", [{"age": 3.0, "sizes": sizes}] * 2), "--target=sum") == 0
    shown = run.store.inputs([0])[0]
    names = value_names(shown["inputs"], shown["features"])
    named = dict(zip(names, shown["values"], strict=True))
    assert named == {"age": 3.0, "sizes[0,0]": 0.0, "sizes[0,1]": 1.0, "sizes[1,0]": 2.0, "sizes[1,1]": 3.0}
    row = run.store.index.to_pylist()[0]
    assert (row["target"], row["predicted"], row["probability"]) == (None, None, None)
    inputs = {"age": np.full((1, 1), 3, np.float32), "sizes": sizes[None].astype(np.float32)}
    direct = dx.Explainer("gradient_x_input", str(run.model)).run(inputs)
    values = dict(zip(names, run.store.maps([1])[0], strict=True))
    assert values["age"] == pytest.approx(direct["age"][0, 0], rel=2e-3)
    assert values["sizes[1,0]"] == pytest.approx(direct["sizes"][0, 1, 0], rel=2e-3)


def test_each_top_class_has_a_map(image: Run, tmp_path: Path) -> None:
    assert image(write_records(tmp_path / "a.tfrecord", pictures(3)), "--target=top:2", methods="saliency") == 0
    rows = image.store.index.to_pylist()
    assert len(rows) == 6
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["example_id"] == second["example_id"]
        assert first["target"] == first["predicted"] != second["target"]
        assert first["score"] >= second["score"]


def test_maps_do_not_depend_on_batches_units_or_compression(exported: Exported, tmp_path: Path) -> None:
    examples = pictures(11)
    plain = write_records(tmp_path / "a.tfrecord", examples)
    packed = write_records(tmp_path / "a.gz", examples, "GZIP")
    runs = []
    for i, (source, options) in enumerate(
        [
            (plain, ()),
            (plain, ("--batch_size=1",)),
            (plain, ("--batch_size=7", "--unit_size=5")),
            (packed, ("--unit_size=4",)),
        ]
    ):
        run = Run(exported("image"), tmp_path / f"logs{i}")
        assert run(source, *options, "--target=top:2", methods="integrated_gradients,occlusion") == 0
        runs.append(run)
    assert [len(run.store.manifest["units"]) for run in runs] == [1, 1, 3, 1]
    for run in runs[1:]:
        assert_same(runs[0], run)


def test_bad_examples_fail_alone(exported: Exported, tmp_path: Path) -> None:
    run = Run(exported("text"), tmp_path / "logs")
    good = [{"ids": [2, 3, 4, 5], "label": 1, "id": f"good{i}"} for i in range(6)]
    poison = {"ids": [2, 3, 4, 9999], "label": 1, "id": "poison"}  # beyond the embedding: fails in the model
    unlabelled = {"ids": [2, 3, 4, 5], "id": "unlabelled"}
    wrong = {"ids": [0.5], "label": 1, "id": "wrong"}
    source = write_records(
        tmp_path / "a.tfrecord", [wrong, poison, *good[:3], unlabelled, *good[3:], good[0], b"\xff\xff"]
    )
    assert run(source, "--target=label", methods="saliency") == 1
    assert run.store.index.column("example_id").to_pylist() == [f"good{i}" for i in range(6)]
    errors = {row["example_id"]: row for row in run.store.errors().to_pylist()}
    assert {key: row["stage"] for key, row in errors.items()} == {
        "a:000000": "parse",
        "poison": "explain",
        "unlabelled": "explain",
        "a:000009": "parse",
        "a:000010": "parse",
    }
    assert "expected int64" in errors["a:000000"]["message"]
    assert "9999" in errors["poison"]["message"]
    assert "has no label" in errors["unlabelled"]["message"]
    assert "its id 'good0' is also that of a:000002" in errors["a:000009"]["message"]
    assert run.store.manifest["counts"] == {"examples": 6, "maps": 6, "errors": 5}


def test_a_truncated_file_is_explained_up_to_the_damage(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(5))
    source.write_bytes(source.read_bytes()[:-10])
    assert image(source) == 1
    assert image.store.manifest["counts"] == {"examples": 4, "maps": 8, "errors": 1}
    output = capsys.readouterr().out
    assert "failed    1 example" in output
    assert "cut off within a record" in output
    assert f"tensorboard --logdir {image.logdir}" in output


FILES_BY_FORMAT = {format_writers.format_of(name): name for name in format_writers.WRITERS}


@pytest.mark.parametrize("name", FILES_BY_FORMAT.values())
def test_all_formats_make_the_same_store(name: str, exported: Exported, tmp_path: Path) -> None:
    rows = format_writers.make_rows(11)
    one, other = (Run(exported("binary"), tmp_path / which) for which in ("one", "other"))
    assert one(format_writers.WRITERS["a.tfrecord"](tmp_path / "a.tfrecord", rows), "--unit_size=4") == 0
    assert other(format_writers.WRITERS[name](tmp_path / name, rows), "--unit_size=4") == 0
    assert_same(one, other)


def test_a_folder_of_pictures_needs_no_other_option(image: Run, tmp_path: Path) -> None:
    for i, label in enumerate(["wolf", "cat", "cow", "cat"]):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        pixels = np.full((20, 30, 3), 50 * i, np.uint8)
        (tmp_path / "photos" / label / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (tmp_path / "photos" / "cow" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    assert image(tmp_path / "photos", "--resize") == 1
    assert image.store.manifest["labels"] == ["cat", "cow", "wolf"]
    label_names = {row["example_id"]: row["label_name"] for row in image.store.index.to_pylist()}
    assert label_names == {"wolf/0.png": "wolf", "cat/1.png": "cat", "cow/2.png": "cow", "cat/3.png": "cat"}
    (error,) = image.store.errors().to_pylist()
    assert (error["example_id"], error["stage"]) == ("cow/broken.jpg", "parse")
    assert "cannot be decoded" in error["message"]


def test_bad_rows_of_a_csv_file_are_listed_as_errors(exported: Exported, tmp_path: Path) -> None:
    lines = [
        "a,b,c,d,label",
        "1,2,3,4,0",
        "1,2,3",
        "1,2,three,4,1",
        '"1"x,2,3,4,0',
        "1,2,3,nan,1",
        "4,3,2,1,one",
        "0,0,0,1,1",
        "0,0,1,1,99",
    ]
    source = format_writers.write(tmp_path / "a.csv", "\n".join(lines).encode())
    run = Run(exported("binary"), tmp_path / "logs")
    assert run(source, "--feature=x=a,b,c,d", "--max_error_rate=0.9") == 1
    assert [row["example_id"] for row in run.store.index.to_pylist()][::2] == ["a:000000", "a:000006"]
    errors = {e["example_id"]: (e["stage"], e["message"]) for e in run.store.errors().to_pylist()}
    assert {id_: stage for id_, (stage, _) in errors.items()} == {
        "a:000001": "read", "a:000002": "parse", "a:000003": "read", "a:000004": "explain", "a:000005": "parse",
        "a:000007": "explain",
    }  # fmt: skip
    for id_, reason in [
        ("a:000001", "it has 3 fields; the header has 5"),
        ("a:000002", "its feature 'c' is 'three'; expected a number"),
        ("a:000003", "it is not CSV"),
        ("a:000004", "NaN or infinite"),
        ("a:000007", "its label is 99; the model has 2 classes, numbered from 0"),
        ("a:000005", "'one'; expected a class number, or one of the class names"),
    ]:
        assert reason in errors[id_][1]


def test_the_batch_size_is_halved_for_good_when_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.image()
    model.export(tmp_path / "model", verbose=False)
    worker = BatchExplainer(make_request(tmp_path / "model", ["integrated_gradients"], target=1))
    real, batch_sizes = Explainer.run, list[Any]()

    def small_device(self: Any, xs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        batch_sizes.append(batch_size)
        if batch_size is None or batch_size > 20:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return real(self, xs, batch_size=batch_size, **options)

    monkeypatch.setattr(Explainer, "run", small_device)
    rng = np.random.default_rng(0)
    examples = [Example(str(i), {"image": rng.random((8, 8, 3), np.float32)}) for i in range(5)]
    metrics = Metrics()
    for _ in range(2):
        assert [row.example_id for row in worker.explain(examples, metrics=metrics).attributions] == list("01234")
    assert batch_sizes == [None, 32, 16, 16]  # half of the 64 that were chosen, and so on
    assert metrics.oom_retries == 2


def test_short_texts_are_not_padded_to_long_ones(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []
    real = Explainer.run

    def run(self: Explainer, xs: Any, **options: Any) -> Any:
        batches.append([len(text) for text in xs.arrays[0].ravel()])
        return real(self, xs, **options)

    monkeypatch.setattr(Explainer, "run", run)
    texts = [" ".join([VOCABULARY[i % 5]] * (1 + 40 * (i % 2) + i)) for i in range(10)]
    source = write_records(tmp_path / "a.tfrecord", [{"text": text} for text in texts])
    assert Run(exported("strings"), tmp_path / "logs")(source, methods="gradient_x_input") == 0
    several = [batch for batch in batches if len(batch) > 1]
    assert several
    assert all(max(batch) < 2 * max(min(batch), 32) for batch in batches)  # texts below 64 characters go together


def test_an_example_that_does_not_fit_into_memory_fails(image: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, attempts = BatchExplainer(make_request(image.model, ["saliency"], target=1)), list[Any]()

    def tiny_device(self: Any, xs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        attempts.append((xs.n, batch_size))
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(Explainer, "run", tiny_device)
    metrics = Metrics()
    records = worker.explain([Example(i, {"image": np.ones((8, 8, 3), np.float32)}) for i in "ab"], metrics=metrics)
    assert attempts == [(2, None), *((2, 2**n) for n in range(7, -1, -1)), (1, 1), (1, 1)]
    assert metrics.oom_retries == 8
    assert [(error.example_id, error.error) for error in records.errors] == [
        (name, "ResourceExhaustedError") for name in "ab"
    ]
