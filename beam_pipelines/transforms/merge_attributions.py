"""Merges the outputs of several Attributes for one store: the maps of an example, and one error for each that failed."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.transforms.elements import Attributions, Explained, Failure
from tb_deepexplain.errors import ParameterError, StoreError
from tb_deepexplain.store import records
from tb_deepexplain.store.configuration import as_json
from tb_deepexplain.store.records import Attribution, Input

if TYPE_CHECKING:  # which imports TensorFlow
    from tb_deepexplain.recording.request import Request

_Output: TypeAlias = tuple[Input, list[Attribution]]  # of one Attribute for one example

# Fields of a Request in which Attributes that share a store may differ.
_MAY_DIFFER = frozenset({"methods", "target", "batch_size", "gpus", "alone", "processes_per_gpu", "gpu_memory"})


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
        first_values, values = (
            as_json(methods.setdefault(name, parameters)),
            as_json(parameters),
        )  # arrays do not compare
        if first_values != values:
            raise ParameterError(
                f"the Attributes of one store have {name} with {first_values} and with {values}; a store has each method "
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

    Of several examples with the id, one is kept; one Attribute's errors stand for those of all.
    """

    def process(self, group: tuple[str, Iterable[Any]]) -> Iterator[Any]:
        example_id, outputs = group
        explained: dict[int, list[_Output]] = {}
        failed: dict[int, list[records.Failure]] = {}
        for number, output in outputs:
            if isinstance(output, records.Failure):
                failed.setdefault(number, []).append(output)
            else:
                explained.setdefault(number, []).append(output)
        if explained:
            of_example = _select_example([explained[number] for number in sorted(explained)])
            yield Explained(None, None, of_example[0][0], _merge_maps(example_id, of_example))
        failures = max((failed[number] for number in sorted(failed)), key=len, default=[])
        for _ in range(max(map(len, explained.values()), default=1) - 1):
            message = "another example has its id; give every example its own"
            failures = [*failures, records.Failure(example_id, "write", "DuplicateId", message)]
        for failure in failures:
            yield TaggedOutput("errors", Failure(None, None, **vars(failure)))


def _select_example(several: Sequence[Sequence[_Output]]) -> list[_Output]:
    """One output of each Attribute, all of one example; of several examples the first that most of the Attributes explain."""
    if all(len(outputs) == 1 for outputs in several):
        return [outputs[0] for outputs in several]
    choices = [
        [equal[0] for outputs in several if (equal := [each for each in outputs if _are_equal(example, each[0])])]
        for example, _ in itertools.chain.from_iterable(several)
    ]
    return max(choices, key=len)


def _are_equal(first: Input, second: Input) -> bool:
    """Whether two Attributes show the same example. A text may be padded to the length of another batch."""
    return _shown(first) == _shown(second) and all(
        one.image == other.image
        and repr((one.values, one.texts)) == repr((other.values, other.texts))  # NaN is not equal to itself
        and all(map(operator.eq, one.tokens or (), other.tokens or ()))
        for one, other in zip((first, *(first.parts or ())), (second, *(second.parts or ())), strict=True)
    )


def _merge_maps(example_id: str, several: Sequence[_Output]) -> list[Attribution]:
    """The maps of one example, those of equal method and target once. StoreError if they are not of the same inputs."""
    from tb_deepexplain.recording.map_rows import with_disagreement  # imports TensorFlow

    first, _ = several[0]
    for other, _ in several[1:]:
        if not _are_equal(first, other):
            names, other_names = _shown(first), _shown(other)
            difference = f"{names} and {other_names}" if names != other_names else f"other values of {names}"
            raise StoreError(
                f"the Attributes of one store explain different inputs of example {example_id!r}: {difference}; give all "
                "methods to one Attribute, or write two stores"
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
