"""Prepared TensorFlow Datasets directories: the TFRecord files of all splits, decoded by the dataset's features."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

from beam_pipelines.reading.format_interface import Damaged, Source
from beam_pipelines.reading.formats import tfrecord
from beam_pipelines.reading.work_unit import WorkUnit
from tb_deepexplain.errors import InputError

LABEL = "label"
plan = tfrecord.plan


def data_files(folder: str) -> list[str]:
    """The files of all splits."""
    info = _builder(folder).info
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise InputError(
            f"{folder} is a dataset of {info.file_format and info.file_format.value} files; expected tfrecord: prepare it with "
            "tfds.builder(..., file_format='tfrecord')"
        )
    return sorted(os.fspath(path) for split in info.splits.values() for path in split.filepaths)


def class_names(sources: Sequence[Source]) -> tuple[str, ...] | None:
    """The class names of the feature `label`, if the datasets agree on them."""
    names = {_label_names(os.path.dirname(source.path)) for source in sources}
    return names.pop() if len(names) == 1 else None


def read(unit: WorkUnit) -> Iterator[dict[str, Any] | Damaged]:
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
        except Exception as error:  # a feature's decoder may raise anything
            yield Damaged(f"the dataset's features cannot decode it ({error})")


def _label_names(folder: str) -> tuple[str, ...] | None:
    features = _builder(folder).info.features
    names = getattr(features[LABEL], "names", None) if LABEL in features else None
    return tuple(names) if names else None


@functools.lru_cache(maxsize=4)
def _builder(folder: str) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"{folder} is a TensorFlow Datasets directory; to read it, pip install tensorflow-datasets"
        ) from error
    return tfds.builder_from_directory(folder)
