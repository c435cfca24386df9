"""How many examples are explained at once."""

from __future__ import annotations

from beam_pipelines.engine.batch_size import FIRST, LARGEST, SECONDS, BatchSize


def test_batches_grow_as_long_as_they_take_little_time() -> None:
    size = BatchSize(None)
    sizes = []
    for _ in range(8):
        sizes.append(size.current)
        size.record(size.current, SECONDS / 10)
    assert sizes[:2] == [FIRST, 2 * FIRST]
    assert sizes == sorted(sizes)
    assert sizes[-1] == sizes[-2] == LARGEST


def test_batches_that_take_long_are_halved_down_to_one() -> None:
    size = BatchSize(None)
    sizes = []
    for _ in range(6):
        size.record(size.current, 3 * SECONDS)
        sizes.append(size.current)
    assert sizes == [8, 4, 2, 1, 1, 1]
    size.record(1, SECONDS)
    assert size.current == 1


def test_a_batch_that_was_not_full_is_ignored() -> None:
    size = BatchSize(None)
    for seconds in (0, 10 * SECONDS):
        size.record(FIRST - 1, seconds)
        assert size.current == FIRST


def test_a_fixed_size_stays() -> None:
    size = BatchSize(7)
    for seconds in (0, 10 * SECONDS):
        size.record(7, seconds)
        assert size.current == 7
