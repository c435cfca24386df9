"""Directories of prepared TensorFlow Datasets: the TFRecord files of all splits, decoded by the dataset's features."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

from beam_pipelines.reading.formats import tfrecord
from beam_pipelines.reading.formats.files import exists, join
from beam_pipelines.reading.formats.unit import Damaged, Unit
from tb_deepexplain.errors import InputError

LABEL = "label"
plan = tfrecord.plan


def is_dataset(folder: str) -> bool:
    return exists(join(folder, "dataset_info.json")) and exists(join(folder, "features.json"))


def shards(folder: str) -> list[str]:
    """The files of all splits."""
    info = _builder(folder).info
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise InputError(
            f"{folder} is a dataset of {info.file_format and info.file_format.value} files; expected tfrecord: prepare it with "
            "tfds.builder(..., file_format='tfrecord')"
        )
    return sorted(os.fspath(path) for split in info.splits.values() for path in split.filepaths)


def labels(folder: str) -> tuple[str, ...] | None:
    """The class names of the feature `label`."""
    features = _builder(folder).info.features
    names = getattr(features[LABEL], "names", None) if LABEL in features else None
    return tuple(names) if names else None


def read(unit: Unit) -> Iterator[dict[str, Any] | Damaged]:
    """The examples; pictures stay encoded."""
    import tensorflow_datasets as tfds

    features = _builder(os.path.dirname(unit.path)).info.features
    encoded = {name: tfds.decode.SkipDecoding() for name, f in features.items() if isinstance(f, tfds.features.Image)}
    for record in tfrecord.read(unit):
        if isinstance(record, Damaged):
            yield record
            continue
        try:
            yield dict(features.deserialize_example_np(record, decoders=encoded))
        except Exception as error:  # of any feature's decoder
            yield Damaged(f"the dataset's features cannot decode it ({error})")


@functools.lru_cache(maxsize=4)
def _builder(folder: str) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"{folder} is a TensorFlow Datasets directory, and reading it takes a package that is not installed: "
            "pip install tensorflow-datasets"
        ) from error
    return tfds.builder_from_directory(folder)
