"""Features that a caller names: some record must have them. A name in error would make a column of nulls."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_pipelines.reading.record_spec import RecordSpec
from beam_pipelines.reading.slice_values import to_text
from beam_pipelines.reading.tf_example import ExampleFeatures
from beam_pipelines.reading.work_unit import Record
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.records import Failure

_MOST_READ = 1000  # records that are searched for a feature before it is refused


def check_present(records: Iterable[Record | Failure], spec: RecordSpec) -> None:
    """InputError if none of the first 1,000 records has one of the features for label, id and slices that `spec` names."""
    missing, known, count = dict(spec.named_features), dict[str, None](), 0
    for record in itertools.islice(records if missing else (), _MOST_READ):
        if isinstance(record, Failure):
            continue
        with contextlib.suppress(InputError):  # the run tells of records that cannot be read
            columns = ExampleFeatures(record.payload) if isinstance(record.payload, bytes) else record.payload
            count, known = count + 1, known | dict.fromkeys(map(str, columns))
            missing = {name: option for name, option in missing.items() if not is_present(columns, name, spec)}
        if not missing:
            return
    for option in missing.values() if count else ():
        raise InputError(
            f"{option}: none of the first {count:,} records has this feature; they have {', '.join(sorted(known))}: correct the "
            "name, or leave it out"
        )


def describe_absent(records: Iterable[Record | Failure], columns: Sequence[str]) -> str:
    """In words, which of these sparse columns, each of which any record may lack, none of the first 1,000 records has; or ""."""
    absent, count = list(columns), 0
    for record in itertools.islice(records if absent else (), _MOST_READ):
        if isinstance(record, Failure):
            continue
        with contextlib.suppress(InputError):
            features = ExampleFeatures(record.payload) if isinstance(record.payload, bytes) else record.payload
            count, absent = count + 1, [name for name in absent if name not in features]
        if not absent:
            return ""
    return (
        f"none of the first {count:,} records has {', '.join(absent)}: missing in all examples"
        if absent and count
        else ""
    )


def is_present(columns: Mapping[str, Any], name: str, spec: RecordSpec) -> bool:
    """Whether a record has the feature; a slice feature with a value: a slice of nulls is none."""
    if name not in columns:
        return False
    try:
        return name not in spec.slice_features or to_text(columns[name], "") is not None
    except InputError:  # too many values: the run tells of these
        return True
