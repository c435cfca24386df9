"""Parses the elements of a pipeline into examples."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.transforms.element_kinds import RecordMaker, read_value, split_key
from beam_pipelines.transforms.elements import ParsedElement, digest
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.store import records


class ElementParser:
    """Parses the elements of a pipeline into examples."""

    def __init__(self, explainer: BatchExplainer, record_spec: RecordSpec) -> None:
        self._parser = ExampleParser(explainer.graph.inputs, record_spec)
        self._record_maker = RecordMaker(explainer.graph.inputs, record_spec)

    @property
    def unread(self) -> frozenset[str]:
        """As ExampleParser.unread."""
        return frozenset(self._parser.unread)

    def parse(self, element: Any) -> ParsedElement:
        """The id of the example is the element's key as text, else the id in the element, else a digest of its content."""
        key, value = split_key(element)
        is_keyed = key is not None
        if is_keyed:
            self._parser.unread.discard(self._parser.spec.id_feature)  # the key is the id
        try:
            content = read_value(value)
            key = key if is_keyed else digest(content)
            example = self._parser.parse(
                self._record_maker.record(content, key if value is not element else None), key_text(key)
            )
            return ParsedElement(key, value, dataclasses.replace(example, id=key_text(key)) if is_keyed else example)
        except Exception as error:  # a bad element must not stop the pipeline
            key = digest(value) if key is None else key
            return ParsedElement(key, value, records.Failure(key_text(key), "parse", *describe_failure(error)))


def key_text(key: Any) -> str:
    """A key as the id of an example. Many sources, such as Kafka, have keys of bytes: those of a text are the text."""
    if isinstance(key, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return key.decode() or str(key)  # an id is never empty
    return str(key)
