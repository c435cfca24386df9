"""The first records of an input, and random samples: the same records as a whole run reads, under the same ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_pipelines.reading.input_files import find_files
from beam_pipelines.reading.plan import make_plan
from beam_pipelines.reading.read_records import read_records
from beam_pipelines.reading.selection import take_first, take_sample
from beam_pipelines.reading.work_unit import Plan
from tests.pipeline_runs import write_records
from tests.reading import format_writers

ROWS = format_writers.make_rows(11)


def positions(plan: Plan) -> list[str]:
    items = [item for unit in plan.units for item in read_records(unit)]
    assert len(items) == plan.record_count
    return [item.position if hasattr(item, "position") else item.example_id for item in items]


@pytest.mark.parametrize("name", format_writers.WRITERS)
def test_parts_of_an_input_are_records_of_the_whole(name: str, tmp_path: Path) -> None:
    format_writers.WRITERS[name](tmp_path / f"1{name}", ROWS)
    format_writers.WRITERS[name](tmp_path / f"2{name}", ROWS)
    plan = make_plan(find_files([f"{tmp_path}/*"]), 4)
    whole = [item for unit in plan.units for item in read_records(unit)]
    for count in (1, 4, 11, 13, 22, 30):
        assert positions(take_first(plan, count)) == [record.position for record in whole[:count]]  # type: ignore[union-attr]
    samples = []
    for seed in range(4):
        for count, unit_size in ((5, 2), (5, 100), (22, 4), (30, 100)):
            sample = take_sample(plan, count, seed, unit_size)
            items = [item for unit in sample.units for item in read_records(unit)]
            chosen = [whole.index(next(w for w in whole if w.position == i.position)) for i in items]  # type: ignore[union-attr]
            assert chosen == sorted(set(chosen)) and len(chosen) == min(count, 22) == sample.record_count
            for index, item in zip(chosen, items, strict=True):
                assert repr(item) == repr(whole[index])
            ids = [unit.id for unit in sample.units]
            assert len(set(ids)) == len(ids)
            assert count > 5 or len(ids) <= {2: 5, 100: 2}[unit_size]
            assert sample == take_sample(plan, count, seed, unit_size)
            if count == 5:
                samples.append(tuple(chosen))
    assert len(set(samples)) == 4


def test_every_record_is_equally_likely(tmp_path: Path) -> None:
    plan = make_plan(find_files([str(write_records(tmp_path / "a.tfrecord", ROWS))]), 3)
    counts = np.zeros(11)
    for seed in range(400):
        for unit in take_sample(plan, 4, seed, 3).units:
            counts[list(unit.numbers or range(unit.first, unit.first + unit.count))] += 1
    assert counts.sum() == 1600
    assert (abs(counts / 400 - 4 / 11) < 5 * np.sqrt(4 / 11 * 7 / 11 / 400)).all()


def test_pictures_that_are_not_chosen_are_not_opened(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / f"{i}.png").write_bytes(tf.io.encode_png(np.zeros((2, 2, 3), np.uint8)).numpy())
    plan = make_plan(find_files([str(tmp_path)]), 4)
    assert positions(take_first(plan, 5)) == [f"cat/{i}.png" for i in range(5)]
    sample = take_sample(plan, 3, 1, 100)
    assert len(sample.units) == 1 and len(sample.units[0].pictures) == 3
    assert set(positions(sample)) < {f"cat/{i}.png" for i in range(9)}


def test_damage_is_a_record_like_any_other(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfrecord", ROWS)
    path.write_bytes(path.read_bytes()[:-3])
    plan = make_plan(find_files([str(path)]), 4)
    assert plan.record_count == 11
    assert positions(take_first(plan, 11))[-1] == "a:000010"
    assert positions(take_first(plan, 10))[-1] == "a:000009"
    assert any("a:000010" in positions(take_sample(plan, 3, seed, 100)) for seed in range(10))
    assert positions(take_sample(plan, 11, 0, 100)) == positions(plan)
