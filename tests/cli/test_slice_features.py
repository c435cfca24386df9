"""--keep: features of the input that the model does not read, in the stores of explain and evaluate."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.cli.main import main
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.pipeline_runs import Run

COUNT = 30
ROWS: list[dict[str, Any]] = [
    {
        "x": float(i) / 10,
        "label": i % 3,
        "id": f"c{i}",
        "plan": ["basic", "pro"][i % 2],
        "age": 20 + i,
        "plan type": None if i % 5 == 0 else f"{i % 3}",
    }
    for i in range(COUNT)
]
EXPECTED = pd.DataFrame(ROWS).set_index("id")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("model") / "m"
    inputs = keras.Input((), name="x")
    keras.Model(inputs, keras.layers.Dense(3)(keras.ops.expand_dims(inputs, -1))).export(path, verbose=False)
    return path


def write_source(folder: Path, suffix: str) -> Path:
    path = folder / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
    return path


def kept(store: Store) -> pd.DataFrame:
    return store.index.to_pandas().groupby("example_id").first().loc[EXPECTED.index]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_tables(model: Path, tmp_path: Path, suffix: str) -> None:
    """Numbers in a CSV file are numbers; a missing value is none."""
    run = Run(model, tmp_path / "logs")
    assert run(write_source(tmp_path, suffix), "--keep=plan,age,plan type", "--unit_size=8", methods="saliency") == 0
    frame = kept(run.store)
    assert frame["slice.plan"].tolist() == EXPECTED["plan"].tolist()
    assert frame["slice.age"].dtype == np.int64 and frame["slice.age"].tolist() == EXPECTED["age"].tolist()
    types = frame["slice.plan type"]
    assert types.isna().tolist() == EXPECTED["plan type"].isna().tolist()
    assert types.dropna().tolist() == EXPECTED["plan type"].dropna().astype(float).tolist()
    described = {feature["name"]: feature["type"] for feature in run.store.manifest["slice_features"]}
    assert described == {"plan": "text", "age": "number", "plan type": "number"}


def test_only_those_of_a_slice_are_explained_and_resumed(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = write_source(tmp_path, "csv"), Run(model, tmp_path / "logs")
    options = ("--keep=plan,age", "--only=plan=pro and age>=40", "--unit_size=8")
    assert run(source, *options, methods="saliency") == 0
    index = run.store.index.to_pandas()
    assert set(index["slice.plan"]) == {"pro"} and index["slice.age"].min() >= 40
    assert len(index) == ((EXPECTED["plan"] == "pro") & (EXPECTED["age"] >= 40)).sum()
    next(run.directory.glob("attributions-*-00000-00002.parquet")).unlink()
    (run.directory / "manifest.json").unlink()
    assert run(source, *options, "--resume", methods="saliency") == 0
    assert len(run.store.index) == len(index)
    assert run(source, "--keep=plan", *options[2:], "--resume", methods="saliency") == 2
    assert 'slice_features was ["plan", "age"], now ["plan"]' in capsys.readouterr().err


def test_evaluate_keeps_them(model: Path, tmp_path: Path) -> None:
    source = write_source(tmp_path, "csv")
    few = ["--methods=saliency,gradient_x_input", "--measures=deletion", "--deletion.steps=2", "--examples=30"]
    command = [
        "evaluate",
        f"--model={model}",
        f"--input={source}",
        f"--logdir={tmp_path}",
        "--run=r",
        "--keep=plan,age",
    ]
    assert main([*command, *few]) == 0
    frame = kept(Store(store_path(tmp_path, "r", "evaluation")))
    assert frame["slice.plan"].tolist() == EXPECTED["plan"].tolist()
    assert main([*command, *few, "--overwrite", "--keep=plam"]) == 2


def test_what_cannot_be_kept_ends_the_run_at_once(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = write_source(tmp_path, "csv"), Run(model, tmp_path / "logs")
    for option, sentence in (
        ("--keep=plam", "--keep plam: none of the first 30 records has this feature; they have age, id, label, plan,"),
        ("--keep=plan,Plan", "slice_features (--keep): 'plan' and 'Plan' are the same without regard to case"),
    ):
        assert run(source, option, methods="saliency") == 2
        assert sentence in capsys.readouterr().err
    pq.write_table(pa.Table.from_pylist([{"x": 1.0, "tags": ["a", "b"]}] * 3), tmp_path / "b.parquet")
    assert run(tmp_path / "b.parquet", "--keep=tags", methods="saliency") == 2
    assert "its slice feature 'tags' is 2 bytes values; expected one number or string" in capsys.readouterr().err
    assert not run.directory.exists()
