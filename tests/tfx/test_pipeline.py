"""The example pipeline on LocalDagRunner, run twice: trained, compared with the last blessed model, blessed, explained, shown."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow_model_analysis as tfma
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from examples import tfx_pipeline
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.browser.tensorboard_server import Server


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tumours")
    features = tfx_pipeline.write_csv(root / "data")
    metadata = sqlite_metadata_connection_config(str(root / "metadata.db"))
    for seed in (0, 1):
        pipeline = tfx_pipeline.make(str(root), str(root / "data"), features, metadata=metadata, seed=seed, cache=True)
        LocalDagRunner().run(pipeline)
    return root


def outputs(root: Path, component: str, key: str) -> list[Path]:
    """The output folders of all runs, in order."""
    return sorted((root / component / key).iterdir(), key=lambda folder: int(folder.name))


def test_both_models_are_explained(root: Path) -> None:
    stores = [
        Store(store_path(folder, "Split-eval", "default")) for folder in outputs(root, "AttributionGen", "attributions")
    ]
    assert len(stores) == 2
    for store in stores:
        index = store.index.to_pandas()
        assert index["example_id"].nunique() == 100 and set(index["method"]) == {
            "integrated_gradients",
            "shapley_sampling",
        }
        assert (index["label"] == index["predicted"]).mean() > 0.85
        assert index["gap"].abs().max() < 0.5 and set(index["label_name"]) == {"benign", "malignant"}
    first, second = (set(store.index["example_id"].to_pylist()) for store in stores)
    assert first == second  # the same sample: the two can be compared
    assert stores[0].index["score"].to_pylist() != stores[1].index["score"].to_pylist()


def test_the_second_model_was_compared_with_the_first(root: Path) -> None:
    first, second = outputs(root, "Evaluator", "evaluation")
    alone, compared = set(metrics(first)), set(metrics(second, "candidate"))
    assert "attribution_completeness_gap" in alone & compared
    assert not any("drift" in name for name in alone) and any("drift" in name for name in compared)
    for folder in (first, second):
        validated = tfma.load_validation_result(str(folder))
        assert validated.validation_ok
    assert all((folder / "BLESSED").exists() for folder in outputs(root, "Evaluator", "blessing"))


def metrics(folder: Path, model: str | None = None) -> dict[str, Any]:
    result = tfma.load_eval_result(str(folder), model_name=model)
    [values] = [by_output[""][""] for slice_key, by_output in result.slicing_metrics if not slice_key]
    return dict(values)


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    started = Server(root / "AttributionGen" / "attributions")
    yield started
    started.stop()


def test_tensorboard_shows_the_artifacts(server: Server) -> None:
    for _ in range(60):
        with urllib.request.urlopen(f"{server.address}/data/plugin/deepexplain/api/stores") as answer:
            stores = json.loads(answer.read())["stores"]
        if len(stores) == 2:
            break
    assert {(store["store"], store["examples"], store["modality"]) for store in stores} == {("default", 100, "tabular")}
    assert all(store["run"].endswith("/Split-eval") for store in stores)
