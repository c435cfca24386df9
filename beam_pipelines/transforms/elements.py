"""What the transforms exchange with a pipeline: elements in, explained examples and failures out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.tf_example import canonical_bytes
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Records
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import Request
from tb_deepexplain.store.records import Attribution, Failure, Input


class Explained(NamedTuple):
    """An example as a person sees it, and its maps."""

    input: Input
    attributions: list[Attribution]


class Attributions(NamedTuple):
    """The output of `Attribute`, and the input of `WriteAttributions`."""

    explained: beam.PCollection[Explained]
    errors: beam.PCollection[Failure]  # examples that could not be explained, and why
    request: beam.PCollection[Request]  # a single element


class ElementParser:
    """Parses the elements of a pipeline into examples."""

    def __init__(self, explainer: BatchExplainer, record_spec: RecordSpec) -> None:
        self._parser = ExampleParser(explainer.graph.inputs, record_spec)

    def parse(self, element: Any) -> Example | Failure:
        """The example. Its id is the element's key, else the id in the element, else a digest of its content."""
        key, value = _split_key(element)
        id_ = "unnamed" if key is None else str(key)
        try:
            if not isinstance(value, bytes | Mapping):
                raise InputError(
                    f"the element is a {type(value).__name__}; expected a serialized tf.Example, a dict or beam.Row of columns, "
                    "or a pair of an id and one of these"
                )
            id_ = digest(value) if key is None else id_
            example = self._parser.parse(value, id_)
            return example if key is None else dataclasses.replace(example, id=id_)
        except Exception as error:  # a bad element must not stop the pipeline
            return Failure(id_, "parse", *describe_failure(error))


def _split_key(element: Any) -> tuple[Any, Any]:
    """(key, value) of an element; the key is None where it has none. Rows with a schema are values: dicts of their columns."""
    is_pair = isinstance(element, tuple) and len(element) == 2 and not hasattr(element, "_fields")
    key, value = element if is_pair else (None, element)
    return key, value._asdict() if hasattr(value, "_asdict") else value


def join_maps(records: Records) -> Iterator[Explained]:
    """Each input with its maps."""
    maps: dict[str, list[Attribution]] = {}
    for attribution in records.attributions:
        maps.setdefault(attribution.example_id, []).append(attribution)
    for input_ in records.inputs:
        yield Explained(input_, maps[input_.example_id])


def digest(value: Any) -> str:
    """An id by content, for a serialized tf.Example or a dict of columns."""
    hash_ = hashlib.blake2b(digest_size=10)
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            array = np.asarray(value[name])
            content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
            hash_.update(str(name).encode() + b"\0" + content + b"\0")
    else:
        hash_.update(canonical_bytes(value) if isinstance(value, bytes) else repr(value).encode())
    return hash_.hexdigest()
