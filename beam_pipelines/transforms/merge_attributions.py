"""Merges the outputs of several Attributes for one store: the maps of an example, and one error for each that failed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.transforms.elements import Attributions, Explained, Failure
from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.store import records
from tb_deepexplain.store.records import Attribution, Input

if TYPE_CHECKING:  # which imports TensorFlow
    from tb_deepexplain.recording.request import Request

# Fields of a Request in which Attributes that share a store may differ.
_MAY_DIFFER = frozenset({"methods", "target", "batch_size", "gpus", "alone"})


def merge_requests(requests: Sequence[Request]) -> Request:
    """A request with the methods of all; its target is that of the first. ParameterError if they do not fit into one store."""
    first = requests[0]
    names = [field.name for field in dataclasses.fields(first) if field.name not in _MAY_DIFFER]
    for other in requests[1:]:
        if differing := [name for name in names if getattr(first, name) != getattr(other, name)]:
            name = differing[0]
            raise ParameterError(
                f"the Attributes of one store differ in {', '.join(differing)}: {name} is {getattr(first, name)!r} and "
                f"{getattr(other, name)!r}; a store has one of each, so write two stores"
            )
    methods: dict[str, dict[str, Any]] = {}
    for name, parameters in itertools.chain.from_iterable(request.methods for request in requests):
        if repr(methods.setdefault(name, parameters)) != repr(parameters):  # arrays do not compare
            raise ParameterError(
                f"the Attributes of one store have {name} with {methods[name]} and with {parameters}; a store has each method "
                "once, so write two stores"
            )
    return dataclasses.replace(first, methods=tuple(methods.items()))


def describe_targets(requests: Sequence[Request]) -> str:
    """The targets of the requests, for the manifest."""
    return ", ".join(dict.fromkeys(str(request.target) for request in requests))


class Merged(NamedTuple):
    """The examples of several Attributes, each once."""

    explained: beam.PCollection[Explained]
    errors: beam.PCollection[Failure]


class MergeAttributions(beam.PTransform):
    """The outputs of several Attributes, which have equal windows, as one: groups them by the id of the example."""

    def expand(self, several: tuple[Attributions, ...]) -> Merged:
        keyed = [
            outputs | f"Key{label}{number}" >> beam.Map(_keyed, number).with_output_types(tuple[str, Any])
            for number, one in enumerate(several)
            for label, outputs in (("Maps", one.explained), ("Errors", one.errors))
        ]
        grouped = keyed | beam.Flatten() | "ByExample" >> beam.GroupByKey()
        merged = grouped | "Merge" >> beam.ParDo(_Merge()).with_outputs("errors", main="explained")
        return Merged(merged.explained, merged.errors)


def _keyed(output: Explained | Failure, number: int) -> tuple[str, Any]:
    if isinstance(output, Failure):
        return output.example_id, (number, output.record)
    return output.input.example_id, (number, (output.input, output.attributions))


@beam.typehints.with_input_types(tuple[str, Iterable[Any]])
class _Merge(beam.DoFn):
    """(id, what each Attribute put out for it) → Explained with the maps of all, and Failure to `errors`.

    Of several examples of one Attribute with the id, the first is kept; one Attribute's errors stand for those of all.
    """

    def process(self, group: tuple[str, Iterable[Any]]) -> Iterator[Any]:
        example_id, outputs = group
        explained: dict[int, list[tuple[Input, list[Attribution]]]] = {}
        failed: dict[int, list[records.Failure]] = {}
        for number, output in outputs:
            if isinstance(output, records.Failure):
                failed.setdefault(number, []).append(output)
            else:
                explained.setdefault(number, []).append(output)
        if explained:
            firsts = [explained[number][0] for number in sorted(explained)]
            yield Explained(None, None, firsts[0][0], _merge_maps(example_id, firsts))
        failures = max((failed[number] for number in sorted(failed)), key=len, default=[])
        for _ in range(max(map(len, explained.values()), default=1) - 1):
            message = "another example has its id; give every example its own"
            failures = [*failures, records.Failure(example_id, "write", "DuplicateId", message)]
        for failure in failures:
            yield TaggedOutput("errors", Failure(None, None, **vars(failure)))


def _merge_maps(example_id: str, several: Sequence[tuple[Input, list[Attribution]]]) -> list[Attribution]:
    """The maps of one example, those of equal method and target once. StoreError if they are not of the same inputs."""
    from tb_deepexplain.recording.map_rows import with_disagreement  # imports TensorFlow

    first, _ = several[0]
    for other, _ in several[1:]:
        if _shown(first) != _shown(other):
            raise StoreError(
                f"the Attributes of one store explain different inputs of example {example_id!r}: {_shown(first)} and "
                f"{_shown(other)}; give all methods to one Attribute, or write two stores"
            )
    maps: dict[Any, Attribution] = {}
    for attribution in itertools.chain.from_iterable(attributions for _, attributions in several):
        target = attribution.target, tuple(attribution.target_index or ()), attribution.score_function
        maps.setdefault((*target, attribution.method), attribution)
    texts = {part.input: part.tokens for part in first.parts or () if part.tokens is not None}
    by_target: dict[Any, list[Attribution]] = {}
    for (*target, _), attribution in maps.items():
        by_target.setdefault(tuple(target), []).append(attribution)
    return [row for rows in by_target.values() for row in with_disagreement(rows, texts)]


def _shown(example: Input) -> list[str]:
    """The inputs that are explained of an example, or what it is if it is of one kind."""
    if example.parts is not None:
        return [part.input for part in example.parts]
    return [one["name"] for one in example.inputs] if example.modality == "tabular" else [example.modality]
