"""examples/beam_pipeline.py on Beam's local runners; on Prism: tests/runners/test_prism.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    """That the rows are those of literal computations, each key as it went in."""
    rows = pd.concat(map(pd.read_parquet, folder.glob("rows*.parquet")))
    customers = rows[rows.name != ""].set_index(["key", "method"])
    assert len(customers) == 12
    inputs = {"age": np.array([*AGES.values()])[:, None], "visits": np.array([*VISITS.values()])[:, None]}
    for method in ("integrated_gradients", "occlusion"):
        maps = dx.explain(method, str(folder / "models" / "customers"), inputs, target=1)
        for i, key in enumerate(AGES):
            row = customers.loc[(str(key), method)]
            np.testing.assert_allclose(
                row.attributions, [maps["age"][i, 0], maps["visits"][i, 0]], rtol=2e-2, atol=2e-2
            )
            assert row["name"] == beam_pipeline.NAMES[key]
    kinds = customers.xs("occlusion", level="method").kind.to_dict()
    assert kinds == {
        "7": "Row", "8": "Customer", "9": "dict", "10": "Example", "11": "bytes", "12": "PredictionResult",
    }  # fmt: skip
    leaves = tf.saved_model.load(str(folder / "models" / "customers"))
    expected = leaves.serve({"age": tf.constant([[58.0]]), "visits": tf.constant([[3.0]])}).numpy()
    np.testing.assert_allclose(customers.prediction.dropna(), expected[0].repeat(2), rtol=1e-3)

    photos = rows[(rows.method == "integrated_gradients") & (rows.name == "")]
    maps = dx.explain("integrated_gradients", str(folder / "models" / "photos"), _pictures(folder), target="predicted")
    for kind in ("ReadableFile", "bytes", "ndarray"):
        of_kind = photos[photos.kind == kind]
        assert len(of_kind) == 4
        assert _sums(of_kind.attributions) == pytest.approx(sorted(maps.reshape(4, -1).sum(1)), rel=2e-2, abs=2e-2)
    assert set(photos[photos.kind == "ReadableFile"].key) == {str(folder / "photos" / f"{i}.png") for i in range(4)}
    texts = rows[rows.method == "gradient_x_input"]
    targets = {len(key) > 9: target for key, target in zip(texts.key, texts.target, strict=True)}
    assert targets == {True: 1, False: 0}  # the keys: a digest, and b'r-2'
    assert set(texts.kind) == {"str"}


def _pictures(folder: Path) -> np.ndarray:
    files = (folder / "photos" / f"{i}.png" for i in range(4))
    return np.stack([tf.io.decode_png(file.read_bytes()).numpy() for file in files]).astype(np.float32)


def _sums(maps: Any) -> list[float]:
    return sorted(float(np.sum(one)) for one in maps)
