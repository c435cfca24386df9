"""Attributions in TFMA, by slice: which features a model uses for which group of examples.

    python -m examples.tfma_slices [--plot slices.png]

Trains the model of `examples.tumours`, evaluates it with TFMA, and prints for each slice its accuracy, the mean
attribution of each measurement, and how far the attributions can be trusted.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from examples.tfx_pipeline import RUNNER
from examples.tumours import LABEL, export, train, write_csv

SHOWN = 10  # measurements, by decreasing mean absolute attribution
SLICES = {(): "all", ((LABEL, 0),): "benign", ((LABEL, 1),): "malignant"}
METRICS = {
    "binary_accuracy": "accuracy",
    "attribution_completeness_gap": "completeness gap",
    "attribution_deletion_auc": "deletion AUC",
}
CONFIG = f"""
  model_specs {{ signature_name: "serving_default" label_key: "{LABEL}" }}
  slicing_specs {{}}
  slicing_specs {{ feature_keys: ["{LABEL}"] }}
  metrics_specs {{
    metrics {{ class_name: "ExampleCount" }}
    metrics {{ class_name: "BinaryAccuracy" }}
    metrics {{ class_name: "MeanAttributions" }}
    metrics {{ class_name: "MeanAbsoluteAttributions" }}
    metrics {{ class_name: "CompletenessGap" module: "beam_pipelines.tfma.metrics" }}
    metrics {{ class_name: "DeletionAUC" module: "beam_pipelines.tfma.metrics" }}
  }}
"""


def evaluate(folder: Path) -> Any:
    """TFMA's result for a model trained on one half of the data and evaluated on the other."""
    import tensorflow_model_analysis as tfma
    from apache_beam.options.pipeline_options import PipelineOptions
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    from beam_pipelines.tfma.extractor import attribution_extractors

    names = write_csv(folder)
    rows = np.genfromtxt(folder / "tumours.csv", delimiter=",", names=True)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    half = len(rows) // 2
    columns = {name: rows[name].astype(np.float32) for name in names}
    model = train({name: values[:half] for name, values in columns.items()}, rows[LABEL][:half], epochs=30, seed=0)
    export(model, {name: tf.io.FixedLenFeature([], tf.float32) for name in names}, str(folder / "model"))
    with tf.io.TFRecordWriter(str(folder / "data")) as writer:
        for i in range(half, len(rows)):
            features = {name: _floats(values[i]) for name, values in columns.items()}
            features[LABEL] = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(rows[LABEL][i])]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    config = text_format.Parse(CONFIG, config_pb2.EvalConfig())
    shared = tfma.default_eval_shared_model(
        eval_saved_model_path=str(folder / "model"), eval_config=config, tags=[tf.saved_model.SERVING]
    )
    # The baseline: zero is no plausible measurement.
    mean = {name: float(values[:half].mean()) for name, values in columns.items()}
    return tfma.run_model_analysis(
        eval_shared_model=shared,
        eval_config=config,
        data_location=str(folder / "data"),
        output_path=str(folder / "result"),
        pipeline_options=PipelineOptions(RUNNER),
        extractors=attribution_extractors(shared, config, method="integrated_gradients", parameters={"baseline": mean}),
    )


def _floats(value: float) -> Any:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[float(value)]))


def tabulate(result: Any) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """(metrics by slice, mean attributions by slice) of the most important measurements, the most important first."""
    metrics, attributions = {}, {}
    absolute: dict[str, float] = {}
    for slice_key, by_output in result.slicing_metrics:
        values = by_output[""][""]
        metrics[SLICES[slice_key]] = {title: values[name]["doubleValue"] for name, title in METRICS.items()} | {
            "examples": values["example_count"]["doubleValue"]
        }
    for slice_key, by_output in result.attributions:
        values = by_output[""][""]
        attributions[SLICES[slice_key]] = {name: v["doubleValue"] for name, v in values["mean_attributions"].items()}
        if not slice_key:
            absolute = {name: v["doubleValue"] for name, v in values["mean_absolute_attributions"].items()}
    order = sorted(absolute, key=lambda name: -absolute[name])[:SHOWN]
    return metrics, {slice_: {name: values[name] for name in order} for slice_, values in attributions.items()}


def show(metrics: dict[str, dict[str, float]], attributions: dict[str, dict[str, float]]) -> None:
    """Print both tables."""
    slices = [name for name in SLICES.values() if name in metrics]
    print(f"{'':28}" + "".join(f"{name:>12}" for name in slices))
    print(f"{'examples':28}" + "".join(f"{metrics[name]['examples']:12,.0f}" for name in slices))
    for title in METRICS.values():
        print(f"{title:28}" + "".join(f"{metrics[name][title]:12.3f}" for name in slices))
    print("\nmean attribution to the predicted class")
    for feature in attributions["all"]:
        print(f"  {feature:26}" + "".join(f"{attributions[name][feature]:+12.3f}" for name in slices))


def plot(attributions: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the attributions as bars."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    features = list(attributions["all"])[::-1]
    positions = np.arange(len(features))
    slices = [name for name in ("benign", "malignant") if name in attributions]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for i, (name, colour) in enumerate(zip(slices, ("#2166ac", "#b2182b"), strict=True)):
        values = [attributions[name][feature] for feature in features]
        axes.barh(positions + 0.2 - 0.4 * i, values, height=0.38, color=colour, label=f"{name} tumours")
    axes.set_yticks(positions, [feature.replace("_", " ") for feature in features])
    axes.axvline(0, color="#5f6368", linewidth=0.8)
    axes.set_xlabel("mean attribution to the predicted class (integrated gradients, logits)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the attributions by slice to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        metrics, attributions = tabulate(evaluate(Path(folder)))
    show(metrics, attributions)
    if options.plot:
        plot(attributions, options.plot)
        print(f"\nwrote {options.plot}")


if __name__ == "__main__":
    main()
