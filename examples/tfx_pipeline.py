"""A TFX pipeline of a table with strings, whole numbers and missing values, with attributions as a step and as a gate.

    python -m examples.tfx_pipeline --root passengers        # then run the tensorboard command that it prints

CsvExampleGen → StatisticsGen → SchemaGen → Transform → Trainer → Evaluator → AttributionGen → Pusher, on the passengers of the
Titanic: class, sex, title, number of namesakes, and an age that is missing for half of them. The serving signature parses raw
tf.Examples and holds Transform's graph; each raw column gets one attribution. Run it again with --seed 1: the second model is compared with
the first, and is neither blessed nor pushed if its attributions have drifted too far.
"""

from __future__ import annotations

import argparse
import collections
import csv
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

LABEL, ID = "survived", "name"
STRINGS = ("travel_class", "sex", "title")
COLUMNS = (*STRINGS, "namesakes", "age")
SLICES = ["sex", "travel_class"]
DRIFT = 0.35  # largest accepted attribution drift from one training to the next
CROSSES = 8  # hash buckets of the cross of sex and class
RUNNER = ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]  # in this process
_TITLE = re.compile(r",\s*(Mr|Mrs|Miss|Master)\b")


def write_csv(folder: Path) -> None:
    """Write `folder/passengers.csv`: the 1,313 passengers of bokeh-sampledata. An unknown age is an empty cell."""
    spec = importlib.util.find_spec("bokeh_sampledata")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the passengers are in a package of data: pip install bokeh-sampledata")
    source = Path(spec.submodule_search_locations[0], "_data", "titanic_all.csv")
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    families = collections.Counter((row["class"], row["name"].split(",")[0]) for row in rows)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "passengers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([ID, *COLUMNS, LABEL])
        for row in rows:
            title = match[1] if (match := _TITLE.search(row["name"])) else "other"
            namesakes = families[row["class"], row["name"].split(",")[0]] - 1
            writer.writerow([row["name"], row["class"], row["sex"], title, namesakes, row["age"], row["survived"]])


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Transforms the raw columns: scales, vocabularies, buckets and a hashed cross."""
    import tensorflow_transform as tft

    def dense(column: Any, default: Any) -> Any:
        if isinstance(column, tf.SparseTensor):
            column = tf.sparse.to_dense(
                tf.sparse.SparseTensor(column.indices, column.values, [column.dense_shape[0], 1]), default
            )
        return tf.squeeze(column, 1)

    strings = {name: dense(inputs[name], "") for name in STRINGS}
    age = dense(tft.scale_to_z_score(inputs["age"]), 0.0)  # a missing age is the mean
    outputs = {
        "age_scaled": age,
        "age_bucket": tft.apply_buckets(dense(inputs["age"], -1.0), [[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]]),
        "namesakes_scaled": tft.scale_to_0_1(dense(inputs["namesakes"], 0)),
        "sex_and_class": tft.hash_strings(tf.strings.join([strings["sex"], strings["travel_class"]], "_"), CROSSES),
        LABEL: dense(inputs[LABEL], 0),
    }
    for name, values in strings.items():
        outputs[f"{name}_id"] = tft.compute_and_apply_vocabulary(values, num_oov_buckets=1, vocab_filename=name)
    return outputs


def run_fn(arguments: Any) -> None:
    """The function that Trainer calls. Its custom config may have `epochs` and `seed`."""
    import tensorflow_transform as tft

    config = arguments.custom_config or {}
    transform = tft.TFTransformOutput(arguments.transform_output)
    records = tf.data.TFRecordDataset(tf.io.gfile.glob(arguments.train_files), "GZIP")
    columns = tf.io.parse_example(list(records.as_numpy_iterator()), transform.transformed_feature_spec())
    labels = columns.pop(LABEL)
    sizes = {name: transform.vocabulary_size_by_name(name) + 1 for name in STRINGS}
    model = train(columns, labels, sizes, config.get("epochs", 30), config.get("seed", 0))
    export(model, transform, arguments.serving_model_dir)


def train(columns: dict[str, Any], labels: Any, sizes: dict[str, int], epochs: int, seed: int) -> keras.Model:
    """Train a small model on transformed columns, each `[N]`; it returns the probability of survival. `sizes` of vocabularies."""
    keras.utils.set_random_seed(seed)
    layers, ops = keras.layers, keras.ops
    inputs = {name: keras.Input((), name=name, dtype=values.dtype.name) for name, values in columns.items()}
    encoded = [
        ops.expand_dims(inputs["age_scaled"], 1),
        ops.expand_dims(inputs["namesakes_scaled"], 1),
        ops.one_hot(inputs["age_bucket"], 7),
        ops.one_hot(inputs["sex_id"], sizes["sex"]),
        ops.one_hot(inputs["travel_class_id"], sizes["travel_class"]),
        layers.Embedding(sizes["title"], 4)(inputs["title_id"]),
        layers.Embedding(CROSSES, 2)(inputs["sex_and_class"]),
    ]
    x = layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(
        ops.concatenate(encoded, axis=1)
    )
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(columns, labels, batch_size=64, epochs=epochs, verbose=0)
    return model


def export(model: keras.Model, transform: Any, directory: str) -> None:
    """Write a SavedModel whose serving signature takes serialized raw tf.Examples and holds Transform's graph."""
    spec = {name: column for name, column in transform.raw_feature_spec().items() if name in COLUMNS}
    model.transform = transform.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        return {"probability": model(model.transform(tf.io.parse_example(examples, spec)), training=False)}

    tf.saved_model.save(model, directory, signatures={"serving_default": serve})


def evaluation() -> Any:
    """The EvalConfig: accuracy and attributions, over all examples and by slice. A model is blessed if it is accurate enough and
    its attributions have not drifted too far from those of the last blessed model."""
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    slices = "\n".join(f'slicing_specs {{ feature_keys: ["{name}"] }}' for name in SLICES)
    text = f"""
      model_specs {{ name: "candidate" signature_name: "serving_default" label_key: "{LABEL}" }}
      model_specs {{ name: "baseline" signature_name: "serving_default" label_key: "{LABEL}" is_baseline: true }}
      slicing_specs {{}}
      {slices}
      metrics_specs {{
        metrics {{ class_name: "ExampleCount" }}
        metrics {{
          class_name: "BinaryAccuracy"
          threshold {{ value_threshold {{ lower_bound {{ value: 0.7 }} }} }}
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
    *,
    metadata: Any = None,
    name: str = "passengers",
    epochs: int = 30,
    seed: int = 0,
    cache: bool = False,
) -> Any:
    """The pipeline. `data`: folder of CSV files. `root`: folder of the artifacts. `metadata`: ML Metadata connection config."""
    from tfx.components import CsvExampleGen, Evaluator, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
    from tfx.dsl.components.common import resolver
    from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
    from tfx.orchestration import pipeline
    from tfx.proto import pusher_pb2, trainer_pb2
    from tfx.types import Channel, standard_artifacts

    from beam_pipelines.tfx.component import AttributionGen

    example_gen = CsvExampleGen(input_base=data)
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="examples.tfx_pipeline.preprocessing_fn",  # importable; a module_file would be built into a wheel
    )
    trainer = Trainer(
        run_fn="examples.tfx_pipeline.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={"epochs": epochs, "seed": seed},
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
        methods=["integrated_gradients", "occlusion", "shapley_sampling"],
        labels=["died", "survived"],
        label_feature=LABEL,
        id_feature=ID,
        slice_features=SLICES,
        max_examples=100,
        on_refusal="empty",  # a model that cannot be explained is pushed all the same
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(Path(root, "pushed")))
        ),
    )
    return pipeline.Pipeline(
        pipeline_name=name,
        pipeline_root=root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            transform,
            trainer,
            last_blessed,
            evaluator,
            attributions,
            pusher,
        ],
        metadata_connection_config=metadata,
        beam_pipeline_args=RUNNER,
        enable_cache=cache,
    )


def main() -> None:
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("passengers"),
        help="folder for data, artifacts and metadata (default: passengers)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: 0)")
    options = parser.parse_args()
    root = options.root.absolute()
    write_csv(root / "data")
    metadata = sqlite_metadata_connection_config(str(root / "metadata.db"))
    LocalDagRunner().run(make(str(root), str(root / "data"), metadata=metadata, seed=options.seed))
    newest = max((root / "AttributionGen" / "attributions").iterdir(), key=lambda folder: int(folder.name))
    tensorboard = Path(sys.executable).with_name("tensorboard")
    print(f"view with {tensorboard} --logdir {newest}" if any(newest.iterdir()) else "the model was not blessed")


if __name__ == "__main__":
    main()
