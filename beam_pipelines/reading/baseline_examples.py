"""Examples whose statistics stand for missing features, as arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.work_unit import Record
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.recording.example import Example, fill_up
from tb_deepexplain.store.records import Failure

MOST_EXAMPLES = 1000


def stack_examples(
    parser: ExampleParser, records: Iterable[Record | Failure], option: str
) -> tuple[dict[str, np.ndarray], str]:
    """(`[N, ...]` for each input of the model, from the first 1,000 records; which of them are left out, in words, or "").

    `option`: the one that names the records. InputError if no record fits the model, ParameterError if the examples differ in
    shape.
    """
    examples: list[Example] = []
    failures: list[Failure] = []
    for record in itertools.islice(records, MOST_EXAMPLES):
        parsed = record if isinstance(record, Failure) else parser.parse_or_fail(record.payload, record.position)
        if isinstance(parsed, Failure):
            failures.append(parsed)
        else:
            examples.append(parsed)
    first = f"the first, {failures[0].example_id}: {failures[0].message}" if failures else "there are none"
    if not examples:
        raise InputError(f"{option}: none of {len(failures)} examples fits the model; {first}")
    arrays = {}
    for spec in parser.inputs:
        values = [example.inputs[spec.name] for example in examples]
        if spec.is_sparse:
            values = fill_up(values, spec.missing)
        if len(shapes := {value.shape for value in values}) > 1:
            different = ", ".join(map(str, sorted(shapes)[:3]))
            raise ParameterError(f"{option}: {spec.name} has different shapes ({different}), and so no statistics")
        arrays[spec.name] = np.stack(values)
    counts = f"{len(failures)} of {len(examples) + len(failures)} examples"
    return arrays, f"{option}: {counts} do not fit the model and are left out; {first}" if failures else ""
