"""Reads the records of a work unit. No record is lost silently: one that cannot be read becomes a Failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from beam_pipelines.reading.format_interface import DAMAGE, Damaged, describe_damage
from beam_pipelines.reading.formats import FORMATS
from beam_pipelines.reading.work_unit import Columns, Record, WorkUnit
from tb_deepexplain.errors import DeepExplainError, InputError

if TYPE_CHECKING:  # imports pyarrow, which --help does without
    from tb_deepexplain.store.records import Failure


def read_records(unit: WorkUnit, columns: Columns | None = None) -> Iterator[Record | Failure]:
    """The unit's records in order, with a Failure for each that is damaged or cannot be reached.

    `columns`: a columnar format reads only these, if it has all required ones. Raises InputError if the file cannot be
    opened.
    """
    row, number = FORMATS[unit.format], unit.first
    chosen = None if unit.numbers is None else set(unit.numbers)
    end = unit.first + unit.count
    reason = "the file has become shorter"
    try:
        for record in row.module.read(unit, columns) if row.columnar else row.module.read(unit):
            position = unit.position(number)
            number += 1
            if chosen is not None and number - 1 not in chosen:
                continue
            yield _failure(position, record.reason) if isinstance(record, Damaged) else Record(position, record)
    except DAMAGE as error:
        reason = str(error)
    except DeepExplainError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {unit.path}: {error.strerror or error}") from error
    except Exception as error:  # a library that decodes a damaged file may raise anything
        reason = describe_damage(error)
    for missing in range(number, end):
        if chosen is not None and missing not in chosen:
            continue
        yield _failure(unit.position(missing), f"cannot be reached: {reason}")
    if unit.damage:
        yield _failure(unit.position(end), unit.damage)


def _failure(position: str, message: str) -> Failure:
    from tb_deepexplain.store.records import Failure

    return Failure(position, "read", "DataLoss", message)
