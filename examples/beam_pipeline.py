"""A Beam pipeline that explains elements as pipelines hold them, joins the maps with other data by key, and writes rows to Parquet.

    python -m examples.beam_pipeline --output shop        # Beam's options follow, such as --runner=PrismRunner

A shop has customers (rows of two numbers, here as rows, named tuples, dicts and tf.Examples; some with what RunInference predicts of
them), reviews (texts) and photos (files, their bytes, arrays). Each key comes back as it was: customers are joined with their names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.io import fileio
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.transforms import Attribute, ToRows

NAMES = {7: "Anna", 8: "Beat", 9: "Chiara", 10: "Dario", 11: "Elif", 12: "Fabio"}
CUSTOMERS = pa.schema(
    [
        ("customer", pa.int64()),
        ("name", pa.string()),  # joined by key
        ("kind", pa.string()),  # of the element
        ("prediction", pa.float32()),  # of RunInference
        ("method", pa.string()),
        ("score", pa.float32()),
        ("age", pa.float32()),  # the attributions
        ("visits", pa.float32()),
    ]
)


class Customer(NamedTuple):
    """Beam knows the schema of a named tuple."""

    age: float
    visits: float


class Predict(ModelHandler[Mapping[str, float], PredictionResult, Any]):
    """The probability that a customer leaves, for RunInference."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def load_model(self) -> Any:
        return tf.saved_model.load(self._model)

    def run_inference(
        self,
        batch: Sequence[Mapping[str, float]],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Iterable[PredictionResult]:
        columns = {name: tf.constant([[row[name]] for row in batch]) for name in ("age", "visits")}
        probabilities = model.serve(columns).numpy()[:, 0]
        return [PredictionResult(row, float(p)) for row, p in zip(batch, probabilities, strict=True)]


def customers() -> list[tuple[int, Any]]:
    """Customers by number, in every form that names its columns."""
    features = {
        name: tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        for name, value in {"age": 67.0, "visits": 2.0}.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return [
        (7, beam.Row(age=31.0, visits=9.0)),
        (8, Customer(45.0, 1.0)),
        (9, {"age": 22.0, "visits": 4.0}),
        (10, example),
        (11, example.SerializeToString()),
    ]


def make_models(folder: Path) -> None:
    """Train three small models; every worker must see their folders."""
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    age, visits = random.uniform(18, 80, (500, 1)), random.integers(0, 10, (500, 1)).astype(np.float32)
    inputs = {"age": keras.Input((1,), name="age"), "visits": keras.Input((1,), name="visits")}
    scaled = keras.layers.Rescaling(1 / 40)(inputs["age"]), keras.layers.Rescaling(1 / 5)(inputs["visits"])
    x = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()(scaled))
    leaves = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    _fit(leaves, {"age": age, "visits": visits}, (age / 8 - visits > 3).astype(int)).export(
        folder / "customers", verbose=False
    )

    texts = ["a great shop", "great shoes", "the worst shoes", "never again", "the worst shop", "always great"] * 20
    vectors = keras.layers.TextVectorization(output_sequence_length=4)
    vectors.adapt(texts)
    words = keras.Input((), dtype="string", name="text")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(vectors(words)))
    likes = keras.Model(words, keras.layers.Dense(2, activation="softmax")(x))
    _fit(likes, tf.constant(texts), np.array(["great" in text for text in texts], int)).export(
        folder / "reviews", verbose=False
    )

    pictures = random.uniform(0, 255, (200, 8, 8, 3)).astype(np.float32)
    is_bright = random.integers(0, 2, 200)
    pictures[:, :, :4] *= 0.5 + is_bright[:, None, None, None] / 2
    picture = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(picture))
    bright = keras.Model(picture, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x)))
    _fit(bright, pictures, is_bright).export(folder / "photos", verbose=False)


def _fit(model: keras.Model, x: Any, y: np.ndarray) -> keras.Model:
    model.compile(
        keras.optimizers.Adam(0.02),
        "binary_crossentropy" if model.output_shape[-1] == 1 else "sparse_categorical_crossentropy",
    )
    model.fit(x, y, epochs=10, verbose=0)
    return model


def make_photos(folder: Path) -> list[np.ndarray]:
    """Write four photos as PNG files; their pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = list(np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), np.uint8))
    for i, photo in enumerate(photos):
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(photo).numpy())
    return photos


def join_names(customer: int, groups: Mapping[str, Iterable[Any]]) -> Iterator[dict[str, Any]]:
    """A row of CUSTOMERS for each map of a customer. `element` is what went into the pipeline."""
    for explained in groups["explained"]:
        element = explained.element
        for attribution in explained.attributions:
            yield {
                "customer": customer,
                "name": next(iter(groups["names"]), None),
                "kind": type(element).__name__,
                "prediction": element.inference if isinstance(element, PredictionResult) else None,
                "method": attribution.method,
                "score": attribution.score,
                **dict(zip(("age", "visits"), attribution.values.ravel().tolist(), strict=True)),
            }


def run(output: Path, flags: Sequence[str]) -> None:
    """Explain all elements on the runner that `flags` names."""
    models = output / "models"
    if not models.exists():
        make_models(models)
    photos = make_photos(output / "photos")
    with beam.Pipeline(options=PipelineOptions(list(flags))) as p:
        predicted = (
            p
            | "New customers" >> beam.Create([(12, {"age": 58.0, "visits": 3.0})])
            | RunInference(KeyedModelHandler(Predict(str(models / "customers"))))
        )
        explained_customers = (
            (p | "Customers" >> beam.Create(customers()), predicted)
            | "All customers" >> beam.Flatten()
            | "Explain customers"
            >> Attribute(models / "customers", {"integrated_gradients": {}, "occlusion": {}}, target=1)
        ).explained
        names = p | "Names" >> beam.Create(NAMES.items())
        by_key = {"explained": explained_customers | "By key" >> beam.Map(lambda e: (e.key, e)), "names": names}
        rows = by_key | beam.CoGroupByKey() | beam.FlatMapTuple(join_names)
        _ = rows | "Write customers" >> beam.io.WriteToParquet(
            str(output / "customers"), CUSTOMERS, file_name_suffix=".parquet"
        )

        reviews = p | "Reviews" >> beam.Create(["great shoes again", (b"r-2", "the worst shoes")])
        explained_reviews = reviews | "Explain reviews" >> Attribute(models / "reviews", ["gradient_x_input"])

        files = p | fileio.MatchFiles(str(output / "photos" / "*.png")) | fileio.ReadMatches()
        contents = files | beam.Map(lambda file: (f"bytes of {file.metadata.path}", file.read()))
        arrays = p | "Arrays" >> beam.Create([photo.astype(np.float32) for photo in photos])
        encoded = p | "Encoded" >> beam.Create([tf.io.encode_png(photos[0]).numpy()])
        explained_photos = (
            (files, contents, arrays, encoded)
            | "All photos" >> beam.Flatten()
            | "Explain photos" >> Attribute(models / "photos", ["integrated_gradients"])
        )
        maps = (explained_reviews.explained, explained_photos.explained) | "Maps" >> beam.Flatten() | ToRows()
        _ = maps | "Write maps" >> beam.io.WriteToParquet(
            str(output / "maps"), ToRows.PARQUET_SCHEMA, file_name_suffix=".parquet"
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("shop"), help="folder of the models, photos and rows")
    arguments, flags = parser.parse_known_args(argv)
    run(arguments.output, flags)
    print(f"wrote the Parquet files {arguments.output}/customers*.parquet and {arguments.output}/maps*.parquet")


if __name__ == "__main__":
    main()
