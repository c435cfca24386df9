"""--max_examples, --sample and --only: which examples a run explains, what it says of the others, and how it goes on."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from beam_pipelines.cli.main import main
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests import models
from tests.closeness import assert_map_close
from tests.pipeline_runs import Run, pictures, write_records

EXAMPLES = pictures(40)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_records(tmp_path / "a.tfrecord", EXAMPLES)


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    """Of the examples, by Keras itself."""
    keras.utils.set_random_seed(1)
    return np.asarray(models.image().predict(np.stack([example["image"] for example in EXAMPLES]), verbose=0))


def ids(run: Run) -> list[str]:
    return sorted(set(run.store.index.column("example_id").to_pylist()))


def numbered(numbers: list[int]) -> list[str]:
    return [f"a:{number:06d}" for number in numbers]


def test_the_first_examples(image: Run, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image(source, "--max_examples=10", "--unit_size=4") == 0
    assert ids(image) == numbered(list(range(10)))
    assert "read      the first 10 of 40 examples" in capsys.readouterr().out
    options = image.store.manifest["options"]
    assert (options["max_examples"], options["sample"], options["records_of_input"]) == (10, None, 40)
    assert image(source, "--max_examples=11", "--unit_size=4", "--resume") == 2
    assert "max_examples was 10, now 11" in capsys.readouterr().err


def test_a_random_sample_is_that_of_evaluate(
    image: Run, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image(source, "--examples=7", "--sample=3", "--unit_size=4") == 0
    assert len(ids(image)) == 7
    assert ids(image) != numbered(list(range(7)))
    assert "read      a random sample of 7 of 40 examples" in capsys.readouterr().out
    few = [
        "--methods=saliency,gradient_x_input",
        "--measures=deletion",
        "--deletion.steps=2",
        "--max_examples=7",
        "--seed=3",
    ]
    assert (
        main(["evaluate", f"--model={image.model}", f"--input={source}", f"--logdir={tmp_path}", "--run=r", *few]) == 0
    )
    evaluated = Store(store_path(tmp_path, "r", "evaluation")).index.column("example_id").to_pylist()
    assert sorted(set(evaluated)) == ids(image)
    assert image(source, "--sample=3", "--overwrite") == 2
    assert "--sample 3 needs --max_examples" in capsys.readouterr().err


def test_only_the_misclassified_are_explained(
    image: Run, source: Path, probabilities: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [i for i, example in enumerate(EXAMPLES) if probabilities[i].argmax() != example["label"]]
    assert 0 < len(wrong) < 40
    assert image(source, "--only=misclassified", "--unit_size=16") == 0
    assert ids(image) == numbered(wrong)
    output = capsys.readouterr().out
    assert f"explained {len(wrong)} examples" in output
    assert f"skipped   {40 - len(wrong)} examples, which do not meet --only misclassified" in output
    assert image.store.manifest["counts"]["examples"] == len(wrong)
    assert image.store.manifest["spent"]["skipped"] == 40 - len(wrong)

    everything = Run(image.model, tmp_path / "all")
    assert everything(source, "--unit_size=16") == 0
    all_maps = everything.maps()
    for key, (_, values, _) in image.maps().items():
        assert_map_close(values, all_maps[key][1], share=1e-3)

    next(image.directory.glob("attributions-*-00000-00001.parquet")).unlink()
    assert image(source, "--only=misclassified", "--unit_size=16", "--resume") == 0
    assert ids(image) == numbered(wrong)
    assert image.store.manifest["spent"]["skipped"] == 40 - len(wrong)
    assert image(source, "--only=correct", "--unit_size=16", "--resume") == 2
    assert 'only was "misclassified", now "correct"' in capsys.readouterr().err


def test_a_condition_on_label_and_probability(
    image: Run, source: Path, probabilities: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = float(np.median(probabilities.max(1)))
    expected = [i for i, e in enumerate(EXAMPLES[:30]) if e["label"] == 1 and probabilities[i].max() < bound]
    assert expected
    only = f"--only=label=dog and probability<{bound}"
    assert image(source, only, "--labels=cat,dog,cow", "--max_examples=30", "--dry_run", "--batch_size=4") == 0
    assert "do not meet the condition of --only" in capsys.readouterr().out
    assert image(source, only, "--labels=cat,dog,cow", "--max_examples=30") == 0
    assert ids(image) == numbered(expected)


def test_a_condition_that_no_example_meets(image: Run, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--dry_run", "--unit_size=16"):
        assert image(source, "--only=probability>2", option) == 2
        assert "meets the condition of --only" in capsys.readouterr().err
    assert not image.directory.exists()
    assert image(source, "--only=label:horse") == 2
    assert "no class is named 'horse'" in capsys.readouterr().err


def test_a_condition_on_classes_of_a_quantity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.columns().export(tmp_path / "m", verbose=False)
    rows = [{"age": float(i), "sizes": np.arange(4.0), "label": i / 2} for i in range(6)]
    source, run = write_records(tmp_path / "a.tfrecord", rows), Run(tmp_path / "m", tmp_path / "logs")
    assert run(source, "--only=misclassified") == 2
    assert "only misclassified: the model's output is a single quantity, not classes" in capsys.readouterr().err
    assert run(source, "--only=label:0.5..9") == 2  # a label has no order
    capsys.readouterr()
    assert run(source, "--only=id:*") == 0
    names = dict(zip(*(run.store.index.column(name).to_pylist() for name in ("example_id", "label_name")), strict=True))
    assert names == {f"a:{i:06d}": f"{i / 2:g}" for i in range(6)}
    assert run.store.index.column("label").null_count == 12


def test_an_example_that_fails_is_not_skipped(image: Run, tmp_path: Path) -> None:
    examples = [*pictures(3), {"image": np.full((8, 8, 3), np.nan, np.float32), "label": 0}, b"none"]
    source = write_records(tmp_path / "b.tfrecord", examples)
    assert image(source, "--only=-misclassified") == 1
    failed = {row["example_id"]: row["stage"] for row in image.store.errors().to_pylist()}
    assert failed["b:000004"] == "parse"
    counts = image.store.manifest["counts"]
    assert counts["examples"] + counts["errors"] + image.store.manifest["spent"]["skipped"] == 5
