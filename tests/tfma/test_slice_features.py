"""TFMA slices by features that neither model nor schema knows; its numbers are those of pandas over a store that kept them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.tfxio import tf_example_record

from beam_pipelines.tfma.extractor import custom_extractors
from beam_pipelines.tfma.slice_features import add_raw_features, with_slicing_specs
from beam_pipelines.transforms import Attribute, WriteAttributions
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import value_names
from tests.tfma.test_tfma import parse_config, shared_model, write
from tests.tfx.artifacts import FEATURES, make_rows, serialize

KEPT = ["plan", "visits", "city"]
SCHEMA = text_format.Parse(
    " ".join(
        f'feature {{ name: "{name}" type: {type_} presence {{ min_fraction: 1 }} shape {{ dim {{ size: 1 }} }} }}'
        for name, type_ in (*dict.fromkeys(FEATURES, "FLOAT").items(), ("label", "INT"))
    ),
    schema_pb2.Schema(),
)


def customers(count: int) -> list[dict[str, Any]]:
    """Rows with features that the model does not read; every fourth has no city."""
    rows = []
    for number, row in enumerate(make_rows(count, 1)):
        others = {"plan": ["basic", "pro"][number % 2], "visits": number % 3}
        rows.append(row | others | ({"city": "São Paulo" if number % 3 else "Bern"} if number % 4 else {}))
    return rows


@pytest.fixture(scope="module")
def directory(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the same examples."""
    folder = tmp_path_factory.mktemp("store")
    with beam.Pipeline(FnApiRunner()) as pipeline:
        elements = pipeline | beam.Create([(str(i), serialize(row)) for i, row in enumerate(customers(24))])
        explained = elements | Attribute(str(model), "gradient_x_input", slice_features=KEPT)
        _ = explained | WriteAttributions(str(folder), "run")
    return store_path(folder, "run", "default")


@pytest.fixture(scope="module")
def frame(directory: Path) -> pd.DataFrame:
    """One row for each example of the store: slice features and attributions."""
    store = Store(directory)
    rows = range(store.index.num_rows)
    maps = [dict(zip(value_names(one["inputs"], None), of.ravel(), strict=True))
            for one, of in zip(store.inputs(rows), store.maps(rows), strict=True)]  # fmt: skip
    return pd.concat([store.index.to_pandas(), pd.DataFrame(maps)], axis=1)


def analyse(model: Path, folder: Path, options: str, metrics: str = "") -> Any:
    """TFMA's result, as TFX's Evaluator computes it: with a schema, and options from the config."""
    eval_config = parse_config(f"""
      model_specs {{ signature_name: "serving_default" label_key: "label" }}
      metrics_specs {{
        metrics {{ class_name: "ExampleCount" }} metrics {{ class_name: "MeanAttributions" }} {metrics}
        metrics {{ class_name: "AttributionOptions" module: "beam_pipelines.tfma.metrics" config: '{options}' }} }}""")
    shared = shared_model(model, eval_config)
    reader = tf_example_record.TFExampleRecord(
        write(folder / "data", customers(24)), schema=SCHEMA, raw_record_column_name=tfma.ARROW_INPUT_COLUMN,
        telemetry_descriptors=["tests"],
    )  # fmt: skip
    with beam.Pipeline(FnApiRunner()) as pipeline:
        _ = pipeline | reader.BeamSource() | tfma.ExtractEvaluateAndWriteResults(
            eval_config=eval_config, eval_shared_model=shared, output_path=str(folder / "result"), schema=SCHEMA,
            extractors=custom_extractors(shared, eval_config, reader.TensorAdapterConfig()),
        )  # fmt: skip
    return tfma.load_eval_result(str(folder / "result"))


def test_numbers_by_slice_are_those_of_pandas(
    model: Path, directory: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    """Also the drift from that store, which holds slice features: none over all examples, some within a slice."""
    options = '{"method": "gradient_x_input", "slice_features": ["plan", "visits", "city"]}'
    drift = f"""metrics {{ class_name: "AttributionDrift" module: "beam_pipelines.tfma.metrics"
      config: '{{"reference": "{directory}", "resamplings": 20}}' }}"""
    result = analyse(model, tmp_path, options, drift)
    counts = {key: of[""][""]["example_count"]["doubleValue"] for key, of in result.slicing_metrics}
    means = {key: of[""][""]["mean_attributions"] for key, of in result.attributions}
    slices = {(): frame} | {((name, value),): rows for name in KEPT for value, rows in frame.groupby(f"slice.{name}")}
    assert set(counts) == set(slices) and len(slices) == 1 + 2 + 3 + 2
    for key, rows in slices.items():
        assert counts[key] == len(rows)
        for name in FEATURES:
            assert means[key][name]["doubleValue"] == pytest.approx(rows[name].mean(), rel=1e-3, abs=1e-4), (key, name)
    drifts = {key: of[""][""]["attribution_drift"]["doubleValue"] for key, of in result.slicing_metrics}
    assert drifts[()] == pytest.approx(0, abs=1e-3) and drifts[(("plan", "pro"),)] > 0.01


def test_a_feature_that_no_example_has_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"slice_features=\['plam'\]: no example has this feature"):
        analyse(model, tmp_path, '{"method": "saliency", "slice_features": ["plan", "plam"]}')


def test_raw_values_stand_where_transform_makes_a_feature_of_the_name() -> None:
    batch = {
        "input": np.array([serialize({"plan": "pro"}), serialize({"age": 3.0})], object),
        "features": {"age": np.array([[0.0], [3.0]])},
        "transformed_features": {"candidate": {"plan": np.array([1, 0]), "plan_xf": np.array([1, 0])}},
    }
    added = add_raw_features(batch, ["plan", "city"])
    assert [row.tolist() for row in added["features"]["plan"].dense_rows()] == [[b"pro"], []]
    assert set(added["features"]) == {"age", "plan"}
    assert list(added["transformed_features"]["candidate"]) == ["plan_xf"]
    assert list(batch["features"]) == ["age"]


def test_slicing_specs_are_added_once() -> None:
    config = parse_config('slicing_specs { feature_keys: ["plan"] }')
    assert [list(one.feature_keys) for one in with_slicing_specs(config, ["plan", "city"]).slicing_specs] == [
        ["plan"],
        ["city"],
    ]
    empty = config_pb2.EvalConfig()
    assert [list(one.feature_keys) for one in with_slicing_specs(empty, ["plan"]).slicing_specs] == [[], ["plan"]]
    assert not empty.slicing_specs and with_slicing_specs(empty, []) is empty
