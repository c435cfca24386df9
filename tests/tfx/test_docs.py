"""The code blocks of docs/tfx.md run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow_model_analysis as tfma
from google.protobuf import text_format
from tensorflow_model_analysis.proto import config_pb2
from tfx.types import channel_utils, standard_artifacts

from tests.docs import pages
from tests.tfx import artifacts

BLOCKS = pages.blocks(pages.ROOT / "docs" / "tfx.md")


def test_the_component_is_built() -> None:
    [code] = [block.text for block in BLOCKS if "AttributionGen(" in block.text]
    outputs = {
        "examples": standard_artifacts.Examples,
        "model": standard_artifacts.Model,
        "blessing": standard_artifacts.ModelBlessing,
    }
    component = SimpleNamespace(outputs={name: channel_utils.as_channel([kind()]) for name, kind in outputs.items()})
    names: dict[str, Any] = {"example_gen": component, "trainer": component, "evaluator": component}
    exec(compile(code, "docs/tfx.md", "exec"), names)
    assert set(names["attributions"].inputs) == {"examples", "model", "model_blessing", "baseline_examples"}


def test_the_extractor_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = [block.text for block in BLOCKS if "run_model_analysis(" in block.text]
    monkeypatch.chdir(tmp_path)
    artifacts.save_model(tmp_path / "model", artifacts.make_network())
    config = text_format.Parse(
        """model_specs { signature_name: "serving_default" label_key: "label" }
        slicing_specs {} metrics_specs { metrics { class_name: "MeanAttributions" } }""",
        config_pb2.EvalConfig(),
    )
    import tensorflow as tf

    with tf.io.TFRecordWriter("eval.tfrecord") as writer:
        for row in artifacts.make_rows(8, 1):
            writer.write(artifacts.serialize(row))
    model = tfma.default_eval_shared_model(str(tmp_path / "model" / "Format-Serving"), eval_config=config)
    exec(compile(code, "docs/tfx.md", "exec"), {"tfma": tfma, "model": model, "config": config})
    assert list(tfma.load_attributions("result"))


def test_the_threshold_is_an_eval_config() -> None:
    [text] = [block.text for block in BLOCKS if block.language == "proto"]
    [metric] = text_format.Parse(text, config_pb2.MetricsSpec()).metrics
    assert (metric.class_name, metric.module) == ("AttributionDrift", "beam_pipelines.tfma.metrics")
