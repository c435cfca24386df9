"""AttributionGen between a model and the Pusher, on LocalDagRunner: what it refuses stops the release, or does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from tfx.components import Pusher
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from beam_pipelines.tfx.component import AttributionGen
from tests.tfx import artifacts
from tests.tfx.artifacts import make_rows, write_examples


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gate")
    artifacts.save_model(root / "model", artifacts.make_network())
    write_examples(root / "examples", {"eval": make_rows(4, 1)})
    return root


def release(root: Path, on_refusal: str) -> Path:
    """Run the pipeline; where it pushes the model to. The model has no class 7."""
    (folder := root / on_refusal).mkdir()
    properties = {"split_names": json.dumps(["eval"])}
    examples = Importer(str(root / "examples"), standard_artifacts.Examples, properties=properties).with_id("examples")
    model = Importer(str(root / "model"), standard_artifacts.Model).with_id("model")
    attributions = AttributionGen(
        examples.outputs["result"], model.outputs["result"], "saliency", target="7", on_refusal=on_refusal
    )
    filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(folder / "pushed"))
    pusher = Pusher(model.outputs["result"], push_destination=pusher_pb2.PushDestination(filesystem=filesystem))
    pusher.add_upstream_node(attributions)
    metadata = sqlite_metadata_connection_config(str(folder / "metadata.db"))
    LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="gate",
            pipeline_root=str(folder),
            components=[examples, model, attributions, pusher],
            metadata_connection_config=metadata,
            beam_pipeline_args=artifacts.RUNNER,
        )
    )
    stored = metadata_store.MetadataStore(metadata).get_artifacts()
    reasons = [each.custom_properties["skipped"].string_value for each in stored if "skipped" in each.custom_properties]
    assert reasons == ["target 7: the model has 2 classes, numbered from 0"] * 2  # attributions and statistics
    return folder / "pushed"


def test_the_model_is_pushed_although_it_cannot_be_explained(root: Path) -> None:
    assert list(release(root, "empty").rglob("saved_model.pb"))
    assert not [path for path in (root / "empty" / "AttributionGen").rglob("*") if path.is_file()]


def test_a_refusal_stops_the_release(root: Path) -> None:
    with pytest.raises(Exception, match="target 7: the model has 2 classes, numbered from 0"):
        release(root, "fail")
    assert not (root / "fail" / "pushed").exists()
    assert not [path for path in (root / "fail" / "AttributionGen").rglob("*") if path.is_file()]
