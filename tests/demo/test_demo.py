"""The demo's models and data, and its messages if it cannot run. `.ci/run` runs the whole demo."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from beam_pipelines.cli import demo
from beam_pipelines.cli.demo import digits, efficientnet, packages, photos, reviews, torch_weights
from beam_pipelines.cli.main import main as command


def _examples(path: Path) -> list[dict[str, Any]]:
    records = [tf.train.Example.FromString(r) for r in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    kinds = ("bytes_list", "float_list", "int64_list")
    return [
        {
            name: next(list(getattr(f, k).value) for k in kinds if f.HasField(k))
            for name, f in r.features.feature.items()
        }
        for r in records
    ]


@pytest.mark.slow
def test_the_model_built_from_the_checkpoint_classifies_the_photographs(tmp_path: Path) -> None:
    arguments = photos.prepare(tmp_path)
    examples = _examples(tmp_path / "photos.tfrecord")
    assert len(examples) == photos.PICTURES + len(photos.SKIMAGE_PICTURES)
    assert arguments[arguments.index("--input") + 1] == str(tmp_path / "photos.tfrecord")
    assert (tmp_path / "labels.txt").read_text().splitlines()[967] == "espresso"
    pictures = np.stack([tf.io.decode_jpeg(e["image"][0]).numpy() for e in examples]).astype(np.float32)
    predictions = dx.Explainer("saliency", tmp_path / "model").predict(pictures)
    assert predictions.probabilities is not None
    right = predictions.classes == [e["label"][0] for e in examples]
    assert 10 <= right.sum() < len(examples), "most are correct, and some are errors to look at"


def test_a_checkpoint_with_code_is_rejected(tmp_path: Path) -> None:
    with (tmp_path / "evil.pth").open("wb") as file:
        for part in (torch_weights._MAGIC, 1001, {}):
            pickle.dump(part, file)
        pickle.dump(print, file)
    with pytest.raises(dx.InputError, match=r"needs builtins.print; only plain weights"):
        torch_weights.read_weights(tmp_path / "evil.pth")
    (tmp_path / "zip.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(dx.InputError, match="not a PyTorch checkpoint"):
        torch_weights.read_weights(tmp_path / "zip.pth")


def test_a_checkpoint_of_another_model_is_rejected() -> None:
    with pytest.raises(dx.InputError, match="not a checkpoint of EfficientNet-Lite0"):
        efficientnet.load({"_conv_stem.weight": np.zeros((32, 3, 3, 3), np.float32)})


def test_all_misclassified_digits_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "EPOCHS", 1)
    images, labels = digits.data()
    assert images.shape == (5000, 28, 28, 1)
    assert images.min() == 0
    assert images.max() == 1
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    digits.prepare(tmp_path)
    examples = _examples(tmp_path / "digits.tfrecord")
    assert len(examples) == digits.SHOWN
    explainer = dx.Explainer("saliency", tmp_path / "model")
    shown = {int(e["id"][0].decode().removeprefix("mnist_")): e for e in examples}
    wrong = (
        np.flatnonzero(explainer.predict(images[digits.TRAINED :]).classes != labels[digits.TRAINED :]) + digits.TRAINED
    )
    assert set(wrong.tolist()[: digits.SHOWN]) <= set(shown)
    number = next(iter(shown))
    np.testing.assert_allclose(shown[number]["image"], images[number].ravel())
    assert shown[number]["label"] == [labels[number]]


@pytest.mark.slow
def test_the_reviews_are_held_out_and_read_as_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"EPOCHS": 1, "LONG_REVIEWS": 10}.items():
        monkeypatch.setattr(reviews, name, value)
    texts, labels, held, _ = reviews.data()
    assert not set(held) & set(texts.tolist())
    assert 0.45 < labels.mean() < 0.55
    assert max(len(text.split()) for text in texts) <= reviews.LONGEST
    arguments = reviews.prepare(tmp_path)
    examples = _examples(tmp_path / "reviews.tfrecord")
    assert [e["text"][0].decode() for e in examples] == held[: reviews.SHOWN]
    vocabulary = Path(arguments[arguments.index("--vocab") + 1]).read_text().splitlines()
    predictions = dx.Explainer("saliency", tmp_path / "model").predict(["A GREAT film , and zzyzx !"])
    words = [vocabulary[i] for i in predictions.token_ids[0][:5]]
    assert words == ["a", "great", "film", "and", "[UNK]"]


@pytest.mark.parametrize(
    "arguments", [["--port", "PORT"], ["--port", "0"], ["--port", "99999"], ["--logdir", "FILE/logs", "--no-serve"]]
)
def test_errors_of_the_demo_are_one_line(arguments: list[str], tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        values = {"PORT": str(taken.getsockname()[1]), "FILE/logs": str(tmp_path / "file" / "logs")}
        assert command(["demo", *(values.get(a, a) for a in arguments)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert (
        ("port" in output.err and "--port" in output.err)
        if "--port" in arguments
        else ("cannot write to" in output.err and "--logdir" in output.err)
    )


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_PACKAGES", ("numpy", "no_such_package"))
    with pytest.raises(
        dx.InputError, match=r"no_such_package missing\); pip install 'tensorboard-plugin-deepexplain\[demo\]'"
    ):
        demo.main(serve=False)
