"""A table of flats, other than the example's, all the way: Transform, a regression, AttributionGen, the store, TFMA and pandas.

Floats and whole numbers, dense and sparse; strings; several amenities or none, as a multi-hot vector; the price as label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.protobuf import text_format
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils
from tfx.types import standard_artifacts

from beam_pipelines.tfma.extractor import attribution_extractors
from beam_pipelines.tfx.component import AttributionGen
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import value_names
from tests.tfx import artifacts

AMENITIES = ["balcony", "garden", "lift", "parking"]
COLUMNS = ("amenities", "built", "district", "area", "rooms")  # in the order of the parser: sparse ones first
SPEC = {
    "area": tf.io.FixedLenFeature([], tf.float32),
    "rooms": tf.io.FixedLenFeature([1], tf.int64),
    "built": tf.io.VarLenFeature(tf.int64),
    "district": tf.io.VarLenFeature(tf.string),
    "amenities": tf.io.VarLenFeature(tf.string),
    "price": tf.io.FixedLenFeature([], tf.float32),
}
METHODS = ("integrated_gradients", "occlusion", "shapley_sampling")


class Flats(NamedTuple):
    """The artifacts of the pipeline before AttributionGen."""

    rows: list[dict[str, Any]]
    examples: Any
    model: Any
    transform_graph: Any
    served: Any  # the signature of raw tf.Examples


def make_rows(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(7)
    rows = []
    for i in range(count):
        row: dict[str, Any] = {"id": f"flat-{i}", "area": float(rng.uniform(20, 150)), "rooms": int(rng.integers(1, 7))}
        if rng.random() < 0.7:
            row["built"] = int(rng.integers(1900, 2020))
        if rng.random() < 0.9:
            row["district"] = str(rng.choice(["centre", "lake", "hill"]))
        row["amenities"] = sorted(rng.choice(AMENITIES, rng.integers(0, 4), replace=False).tolist())
        row["price"] = float(5 * row["area"] + 40 * (row.get("district") == "lake") + 30 * len(row["amenities"]))
        rows.append(row)
    return rows


def serialize(row: dict[str, Any]) -> bytes:
    """A tf.Example; a column that the row lacks is no feature."""
    features = {}
    for name, value in row.items():
        values = value if isinstance(value, list) else [value]
        if name in ("area", "price"):
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        elif name in ("rooms", "built"):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        elif values:
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized


def preprocess(inputs: dict[str, Any]) -> dict[str, Any]:
    def fill(column: Any, default: Any) -> Any:
        one = tf.sparse.SparseTensor(column.indices, column.values, [column.dense_shape[0], 1])
        return tf.squeeze(tf.sparse.to_dense(one, default), 1)

    amenities = tft.compute_and_apply_vocabulary(inputs["amenities"], default_value=4, vocab_filename="amenities")
    many_hot = tf.sparse.to_indicator(
        tf.sparse.SparseTensor(amenities.indices, amenities.values, amenities.dense_shape), vocab_size=5
    )
    return {
        "area_z": tft.scale_to_z_score(inputs["area"]),
        "rooms_01": tft.scale_to_0_1(inputs["rooms"]),
        "decade": tft.apply_buckets(fill(inputs["built"], tf.constant(0, tf.int64)), [[1900, 1950, 2000]]),
        "district_id": tft.compute_and_apply_vocabulary(fill(inputs["district"], ""), num_oov_buckets=1),
        "amenities_hot": tf.cast(tf.reshape(many_hot, [-1, 5]), tf.float32),
    }


def make_network() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = {
        "area_z": keras.Input((), name="area_z"),
        "rooms_01": keras.Input((1,), name="rooms_01"),
        "decade": keras.Input((), name="decade", dtype="int64"),
        "district_id": keras.Input((), name="district_id", dtype="int64"),
        "amenities_hot": keras.Input((5,), name="amenities_hot"),
    }
    parts = [
        keras.ops.expand_dims(inputs["area_z"], 1),
        inputs["rooms_01"],
        keras.ops.one_hot(inputs["decade"], 4),
        keras.layers.Embedding(4, 3)(inputs["district_id"]),
        inputs["amenities_hot"],
    ]
    x = keras.layers.Dense(8, activation="tanh")(keras.ops.concatenate(parts, axis=1))
    return keras.Model(inputs, keras.layers.Dense(1)(x))


@pytest.fixture(scope="module")
def flats(tmp_path_factory: pytest.TempPathFactory) -> Flats:
    folder, rows = tmp_path_factory.mktemp("flats"), make_rows(80)
    (folder / "examples" / "Split-eval").mkdir(parents=True)
    for path in (folder / "examples" / "Split-eval" / "data_tfrecord-00000-of-00001", folder / "data.tfrecord"):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                writer.write(serialize(row))
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(SPEC))
    raw = [
        {name: np.array(row.get(name, []) if name in ("built", "district", "amenities") else row[name]).reshape(
            [-1] if name in ("built", "district", "amenities", "rooms") else []
        ) for name in SPEC}
        for row in rows
    ]  # fmt: skip
    with beam.Pipeline(FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        _, function = (pipeline | beam.Create(raw), metadata) | tft_beam.AnalyzeAndTransformDataset(preprocess)
        _ = function | tft_beam.WriteTransformFn(str(folder / "transform"))
        _ = metadata | tft_beam.WriteMetadata(str(folder / "transform" / "metadata"), pipeline)
    network, output = make_network(), tft.TFTransformOutput(str(folder / "transform"))
    network.transform = output.transform_features_layer()
    spec = {name: feature for name, feature in output.raw_feature_spec().items() if name != "price"}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        return {"price": network(network.transform(tf.io.parse_example(examples, spec)), training=False)}

    transformed = {name: tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=name) for name, x in network.input.items()}

    @tf.function(input_signature=[transformed])
    def columns(features: Any) -> dict[str, Any]:
        return {"price": network(features, training=False)}

    signatures = {"serving_default": serve, "transformed": columns}
    tf.saved_model.save(network, str(folder / "model" / "Format-Serving"), signatures=signatures)
    graph, model = standard_artifacts.TransformGraph(), standard_artifacts.Model()
    examples = standard_artifacts.Examples()
    graph.uri, model.uri, examples.uri = (str(folder / name) for name in ("transform", "model", "examples"))
    examples.split_names = '["eval"]'
    served = tf.saved_model.load(str(folder / "model" / "Format-Serving")).signatures["serving_default"]
    return Flats(rows, examples, model, graph, served)


@pytest.fixture(scope="module")
def store(flats: Flats, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The model of transformed features, explained from the raw ones."""
    inputs = {"examples": flats.examples, "model": flats.model, "transform_graph": flats.transform_graph}
    artifact = artifacts.run_component(
        AttributionGen,
        tmp_path_factory.mktemp("out") / "flats",
        inputs,
        methods=METHODS,
        signature="transformed",
        label_feature="price",
        id_feature="id",
        slice_features=["district"],
    )
    return Store(store_path(artifact.uri, "Split-eval", "default"))


def test_each_raw_column_has_one_attribution_as_in_a_literal_computation(flats: Flats, store: Store) -> None:
    index, maps = store.index.to_pylist(), store.maps(range(store.index.num_rows))
    assert len(index) == len(METHODS) * len(flats.rows)
    rows = {row["id"]: row for row in flats.rows}
    blank = {"area": 0.0, "rooms": 0}

    def predict(some: list[dict[str, Any]]) -> np.ndarray:
        prices: np.ndarray = flats.served(tf.constant(list(map(serialize, some))))["price"].numpy().ravel()
        return prices

    for row, values in zip(index, maps, strict=True):
        flat = rows[row["example_id"]]
        assert values.size == len(COLUMNS)
        without = [
            {**{k: v for k, v in flat.items() if k != name}, **({name: blank[name]} if name in blank else {})}
            for name in COLUMNS
        ]
        if row["method"] == "occlusion":
            prices = predict([flat, *without])
            np.testing.assert_allclose(values.ravel(), prices[0] - prices[1:], rtol=1e-3, atol=2e-4)
        else:  # both methods go from the example to the flat of which nothing is known
            start, end = predict([blank, flat])
            np.testing.assert_allclose(
                values.sum(), end - start, rtol=0.02, atol=2e-3 if "shapley" in row["method"] else 0.02
            )


def test_raw_values_and_slices_are_stored(flats: Flats, store: Store) -> None:
    rows = {row["id"]: row for row in flats.rows}
    count = store.index.num_rows
    for row, example in zip(store.index.to_pylist(), store.inputs(range(count)), strict=True):
        flat = rows[row["example_id"]]
        names = value_names(example["inputs"], example["features"])
        assert tuple(names) == COLUMNS
        texts = dict(zip(names, example["texts"] or [None] * 5, strict=True))
        values = dict(zip(names, example["values"], strict=True))
        assert texts["district"] == flat.get("district", "missing")
        assert texts["amenities"] == (", ".join(flat["amenities"]) or "missing")
        assert values["built"] == flat["built"] if "built" in flat else texts["built"] == "missing"
        assert values["rooms"] == flat["rooms"] and values["area"] == pytest.approx(flat["area"], rel=1e-6)


def test_tfma_equals_pandas_over_the_store(flats: Flats, store: Store, tmp_path: Path) -> None:
    """Mean attributions of the signature of raw examples by district against the store of the transformed signature."""
    config = text_format.Parse(
        """model_specs { signature_name: "serving_default" label_key: "price" }
        slicing_specs {} slicing_specs { feature_keys: ["district"] }
        metrics_specs { metrics { class_name: "MeanAttributions" } metrics { class_name: "MeanAbsoluteAttributions" } }""",
        config_pb2.EvalConfig(),
    )
    model = tfma.default_eval_shared_model(str(Path(flats.model.uri) / "Format-Serving"), eval_config=config)
    result = tfma.run_model_analysis(
        eval_shared_model=model,
        eval_config=config,
        data_location=str(Path(flats.examples.uri).parent / "data.tfrecord"),
        output_path=str(tmp_path / "result"),
        extractors=attribution_extractors(model, config, method="occlusion"),
    )
    index = store.index.to_pandas()
    table = pd.DataFrame(np.stack([m.ravel() for m in store.maps(range(len(index)))]), columns=list(COLUMNS))
    table = table[(index["method"] == "occlusion").to_numpy()]
    districts = pd.Series({row["id"]: row.get("district") for row in flats.rows})
    table["district of"] = districts[index["example_id"][table.index]].to_numpy()
    compared = 0
    for slice_key, by_output in result.attributions:
        some = table if not slice_key else table[table["district of"] == slice_key[0][1]]
        if slice_key and not len(some):
            continue
        for metric, statistic in (("mean_attributions", lambda x: x), ("mean_absolute_attributions", np.abs)):
            for column, value in by_output[""][""][metric].items():
                expected = statistic(some[column]).mean()
                assert value["doubleValue"] == pytest.approx(expected, rel=2e-3, abs=2e-4), (slice_key, metric, column)
                compared += 1
    assert compared == 4 * 2 * len(COLUMNS)
