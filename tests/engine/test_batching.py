"""How many examples are explained at once."""

from __future__ import annotations

from beam_pipelines.engine.batch_size import FIRST, MOST, SECONDS, BatchSize


def test_batches_grow_as_long_as_they_take_little_time() -> None:
    size = BatchSize(None)
    sizes = []
    for _ in range(8):
        sizes.append(size.now)
        size.took(size.now, SECONDS / 10)
    assert sizes[:2] == [FIRST, 2 * FIRST]
    assert sizes == sorted(sizes)
    assert sizes[-1] == sizes[-2] == MOST


def test_batches_that_take_long_are_halved_down_to_one() -> None:
    size = BatchSize(None)
    sizes = []
    for _ in range(6):
        size.took(size.now, 3 * SECONDS)
        sizes.append(size.now)
    assert sizes == [8, 4, 2, 1, 1, 1]
    size.took(1, SECONDS)
    assert size.now == 1


def test_a_batch_that_was_not_full_says_nothing() -> None:
    size = BatchSize(None)
    for seconds in (0, 10 * SECONDS):
        size.took(FIRST - 1, seconds)
        assert size.now == FIRST


def test_a_size_that_was_asked_for_stays() -> None:
    size = BatchSize(7)
    for seconds in (0, 10 * SECONDS):
        size.took(7, seconds)
        assert size.now == 7
