"""A TFX pipeline that explains the model it trains: CsvExampleGen → Trainer → Evaluator → AttributionGen.

    python -m examples.tfx_pipeline --root /tmp/tumours        # then run the tensorboard command that it prints

The data are scikit-learn's breast cancer data: thirty measurements of the cell nuclei in a biopsy, benign or malignant. The
serving signature parses tf.Examples; each measurement gets an attribution. Run it twice: the second model is compared with
the first, and is not blessed if its attributions have drifted too far.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

LABEL = "malignant"
DRIFT = 0.35  # largest accepted attribution drift from one training to the next
RUNNER = ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]  # in this process


def write_csv(folder: Path) -> list[str]:
    """Write `folder/tumours.csv`; the names of the measurements."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tumours.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, LABEL])
        for values, benign in zip(data.data, data.target, strict=True):
            writer.writerow([*map(float, values), 1 - int(benign)])
    return names


def run_fn(arguments: Any) -> None:
    """The function that Trainer calls. Its custom config has `features`, and optionally `epochs` and `seed`."""
    config = arguments.custom_config or {}
    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in config["features"]}
    columns, labels = _read(arguments.train_files, spec)
    model = train(columns, labels, config.get("epochs", 30), config.get("seed", 0))
    export(model, spec, arguments.serving_model_dir)


def train(columns: dict[str, np.ndarray], labels: np.ndarray, epochs: int, seed: int) -> keras.Model:
    """Train a small model on the columns, each `[N]`; it returns the probability that a tumour is malignant."""
    keras.utils.set_random_seed(seed)
    inputs = {name: keras.Input((), name=name) for name in columns}
    table = np.stack(list(columns.values()), 1)
    x = keras.ops.stack(list(inputs.values()), axis=1)
    x = keras.layers.Normalization(mean=table.mean(0), variance=table.var(0) + 1e-6)(x)
    x = keras.layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(columns, labels, batch_size=64, epochs=epochs, verbose=0)
    return model


def export(model: keras.Model, spec: dict[str, Any], directory: str) -> None:
    """Write a SavedModel whose serving signature takes serialized tf.Examples."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        return {"probability": model(tf.io.parse_example(examples, spec), training=False)}

    tf.saved_model.save(model, directory, signatures={"serving_default": serve})


def _read(patterns: list[str], spec: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    files = tf.io.gfile.glob(patterns)
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    columns = tf.io.parse_example(records, {**spec, LABEL: tf.io.FixedLenFeature([], tf.int64)})
    labels = columns.pop(LABEL).numpy()
    return {name: values.numpy() for name, values in columns.items()}, labels


def evaluation() -> Any:
    """The EvalConfig: accuracy and attributions, over all examples and by class. A model is blessed if it is accurate
    enough and its attributions have not drifted too far from those of the last blessed model."""
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    text = f"""
      model_specs {{ name: "candidate" signature_name: "serving_default" label_key: "{LABEL}" }}
      model_specs {{ name: "baseline" signature_name: "serving_default" label_key: "{LABEL}" is_baseline: true }}
      slicing_specs {{}}
      slicing_specs {{ feature_keys: ["{LABEL}"] }}
      metrics_specs {{
        metrics {{ class_name: "ExampleCount" }}
        metrics {{
          class_name: "BinaryAccuracy"
          threshold {{ value_threshold {{ lower_bound {{ value: 0.85 }} }} }}
        }}
        metrics {{ class_name: "MeanAttributions" }}
        metrics {{ class_name: "MeanAbsoluteAttributions" }}
        metrics {{ class_name: "CompletenessGap" module: "beam_pipelines.tfma.metrics" }}
        metrics {{
          class_name: "AttributionDrift" module: "beam_pipelines.tfma.metrics"
          threshold {{ change_threshold {{ direction: LOWER_IS_BETTER absolute {{ value: {DRIFT} }} }} }}
        }}
      }}
    """
    return text_format.Parse(text, config_pb2.EvalConfig())


def make(
    root: str,
    data: str,
    features: list[str],
    *,
    metadata: Any = None,
    name: str = "tumours",
    epochs: int = 30,
    seed: int = 0,
    cache: bool = False,
) -> Any:
    """The pipeline. `data`: folder of CSV files. `root`: folder of the artifacts. `metadata`: ML Metadata connection config."""
    from tfx.components import CsvExampleGen, Evaluator, Trainer
    from tfx.dsl.components.common import resolver
    from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
    from tfx.orchestration import pipeline
    from tfx.proto import trainer_pb2
    from tfx.types import Channel, standard_artifacts

    from beam_pipelines.tfx.component import AttributionGen

    example_gen = CsvExampleGen(input_base=data)
    trainer = Trainer(
        run_fn="examples.tfx_pipeline.run_fn",  # must be importable; a module_file would be built into a wheel
        examples=example_gen.outputs["examples"],
        train_args=trainer_pb2.TrainArgs(),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={"features": features, "epochs": epochs, "seed": seed},
    )
    last_blessed = resolver.Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("last_blessed")
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=last_blessed.outputs["model"],
        eval_config=evaluation(),
        module_path="beam_pipelines.tfma.extractor",
    )
    attributions = AttributionGen(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        baseline_examples=example_gen.outputs["examples"],
        methods=["integrated_gradients", "shapley_sampling"],
        labels=["benign", "malignant"],
        label_feature=LABEL,
        max_examples=100,
    )
    return pipeline.Pipeline(
        pipeline_name=name,
        pipeline_root=root,
        components=[example_gen, trainer, last_blessed, evaluator, attributions],
        metadata_connection_config=metadata,
        beam_pipeline_args=RUNNER,
        enable_cache=cache,
    )


def main() -> None:
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--root", type=Path, default=Path("tumours"), help="folder for data, artifacts and metadata (default: tumours)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: 0)")
    options = parser.parse_args()
    root = options.root.absolute()
    features = write_csv(root / "data")
    metadata = sqlite_metadata_connection_config(str(root / "metadata.db"))
    LocalDagRunner().run(make(str(root), str(root / "data"), features, metadata=metadata, seed=options.seed))
    newest = max((root / "AttributionGen" / "attributions").iterdir(), key=lambda folder: int(folder.name))
    print(f"view with tensorboard --logdir {newest}" if any(newest.iterdir()) else "the model was not blessed")


if __name__ == "__main__":
    main()
