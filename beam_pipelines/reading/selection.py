"""Parts of a plan: its first records, or a random sample of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from beam_pipelines.reading.work_unit import Plan, WorkUnit


def take_first(plan: Plan, count: int) -> Plan:
    """The plan of the first `count` records."""
    units, left = [], count
    for unit in plan.units:
        if left <= 0:
            break
        units.append(unit.head(left))
        left -= units[-1].record_count
    return dataclasses.replace(plan, units=tuple(units))


def take_sample(plan: Plan, count: int, seed: int, unit_size: int) -> Plan:
    """The plan of `count` random records, in their order; the same ones for the same input and seed.

    Only parts of files that hold one are read. Neighbouring units become one unit as long as it holds at most `unit_size` of
    the records.
    """
    total = plan.record_count
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False, shuffle=False))
    ends = np.cumsum([unit.record_count for unit in plan.units])
    of_units = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    parts = []
    for unit, numbers, end in zip(plan.units, of_units, ends, strict=True):
        if len(numbers):
            parts.append(unit.pick((numbers - (end - unit.record_count)).tolist()))
    return dataclasses.replace(plan, units=tuple(_merge(parts, unit_size)))


def _merge(units: list[WorkUnit], unit_size: int) -> Iterator[WorkUnit]:
    """Units of one file together, as long as they have at most `unit_size` records."""
    merged: WorkUnit | None = None
    for unit in units:
        if merged is None:
            merged = unit
        elif merged.path == unit.path and merged.record_count + unit.record_count <= unit_size:
            merged = merged.join(unit)
        else:
            yield merged
            merged = unit
    if merged is not None:
        yield merged
