"""examples/beam_pipeline.py on Beam's local runners; on Prism: tests/runners/test_prism.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from examples import beam_pipeline

AGES = {7: 31.0, 8: 45.0, 9: 22.0, 10: 67.0, 11: 67.0, 12: 58.0}
VISITS = {7: 9.0, 8: 1.0, 9: 4.0, 10: 2.0, 11: 2.0, 12: 3.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "models"
    beam_pipeline.make_models(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=DirectRunner"],
        ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    ],
    ids=["DirectRunner", "multi_processing"],
)
def test_the_example_explains_each_kind_of_element(models: Path, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "models").symlink_to(models)
    beam_pipeline.main(["--output", str(tmp_path), *flags])
    check_rows(tmp_path)


def check_rows(folder: Path) -> None:
    """That the rows are those of literal computations, and customers have the names of their numbers."""
    customers = _read(folder, "customers").set_index(["customer", "method"])
    assert len(customers) == 12
    inputs = {"age": np.array([*AGES.values()])[:, None], "visits": np.array([*VISITS.values()])[:, None]}
    for method in ("integrated_gradients", "occlusion"):
        maps = dx.explain(method, str(folder / "models" / "customers"), inputs, target=1)
        for i, number in enumerate(AGES):
            row = customers.loc[(number, method)]
            expected = [maps["age"][i, 0], maps["visits"][i, 0]]
            np.testing.assert_allclose([row.age, row.visits], expected, rtol=2e-2, atol=2e-2)
            assert row["name"] == beam_pipeline.NAMES[number]
    kinds = customers.xs("occlusion", level="method").kind.to_dict()
    assert kinds == {7: "Row", 8: "Customer", 9: "dict", 10: "Example", 11: "bytes", 12: "PredictionResult"}
    leaves = tf.saved_model.load(str(folder / "models" / "customers"))
    expected = leaves.serve({"age": tf.constant([[58.0]]), "visits": tf.constant([[3.0]])}).numpy()
    np.testing.assert_allclose(customers.prediction.dropna(), expected[0].repeat(2), rtol=1e-3)

    rows = _read(folder, "maps")
    photos = rows[rows.method == "integrated_gradients"]
    maps = dx.explain("integrated_gradients", str(folder / "models" / "photos"), _pictures(folder), target="predicted")
    files = [str(folder / "photos" / f"{i}.png") for i in range(4)]
    by_key = {key: features[0]["attribution"] for key, features in zip(photos.key, photos.features, strict=True)}
    assert len(photos) == len(by_key) == 13
    for i, file in enumerate(files):
        for key in (file, f"bytes of {file}"):
            assert by_key.pop(key) == pytest.approx(maps[i].sum(), rel=2e-2, abs=2e-2)
    sums = maps.reshape(4, -1).sum(1)
    assert sorted(by_key.values()) == pytest.approx(sorted([*sums, sums[0]]), rel=2e-2, abs=2e-2)  # arrays, and a PNG
    texts = rows[rows.method == "gradient_x_input"].set_index("key")
    tokens = {target: [one["name"] for one in texts.features.iloc[i]] for i, target in enumerate(texts.target)}
    assert tokens == {1: ["great", "shoes", "again", ""], 0: ["the", "worst", "shoes", ""]}
    assert "r-2" in texts.index  # of bytes


def _read(folder: Path, name: str) -> pd.DataFrame:
    return pd.concat(map(pd.read_parquet, folder.glob(f"{name}-*-of-*")))


def _pictures(folder: Path) -> np.ndarray:
    files = (folder / "photos" / f"{i}.png" for i in range(4))
    return np.stack([tf.io.decode_png(file.read_bytes()).numpy() for file in files]).astype(np.float32)
