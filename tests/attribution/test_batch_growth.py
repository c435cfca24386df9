"""The size of batches on simulated devices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tb_deepexplain.attribution.batch_growth import CPU, GPU, LARGEST, BatchGrowth, MemoryBound, Rules

# Gradient × input of a CNN on an H200: evaluations a second by size (../shared/gpu.md), flat beyond.
H200 = {64: 15_264, 256: 47_764, 1024: 92_834, 4096: 127_042}
RESNET_ON_H200 = {64: 4_443, 256: 7_146, 1024: 7_854, 4096: 8_577}


def of_curve(curve: dict[int, float]) -> Callable[[int], float]:
    """Evaluations a second at any size, interpolated."""
    sizes = [math.log2(size) for size in curve]
    return lambda size: float(np.interp(math.log2(size), sizes, list(curve.values())))


def cache(size: int, optimum: int = 256) -> float:
    """A CPU: a cost for each batch, and slower numbers where they leave the cache."""
    return size / (1e-3 + size * 1e-5 * (1 + 0.5 * max(0.0, math.log2(size / optimum))))


def work(growth: BatchGrowth, rate: Callable[[int], float], batches: int = 60, bound: int = LARGEST) -> list[int]:
    """The sizes of full batches on a device."""
    sizes = []
    for _ in range(batches):
        sizes.append(size := growth.next_size(bound))
        seconds = size / rate(size) * (1 if size in growth._started else 5)  # the first batch of a size takes long
        growth.record(size, size, seconds)
    return sizes


def test_on_a_gpu_the_size_is_doubled_as_long_as_that_pays() -> None:
    sizes = work(growth := BatchGrowth(1024, GPU), of_curve(H200))
    assert sizes[:2] == [1024, 1024]
    assert sizes[-1] == growth.best == 4096
    assert growth.is_settled()
    assert sizes.index(4096) <= 12  # a few batches are enough
    assert max(sizes) == 8192  # which was no faster


def test_a_gain_of_a_few_per_cent_is_not_worth_the_memory() -> None:
    assert work(BatchGrowth(1024, GPU), of_curve(RESNET_ON_H200))[-1] == 4096
    assert work(BatchGrowth(1024, GPU), of_curve({1024: 100, 2048: 101, 4096: 102}))[-1] == 1024


def test_on_a_cpu_the_size_that_suits_the_cache_stays() -> None:
    sizes = work(growth := BatchGrowth(256, CPU), cache)
    assert sizes[-1] == growth.best == 256
    assert sizes.count(512) == 1 + CPU.to_refuse
    assert set(sizes) == {256, 512}


def test_on_a_cpu_a_larger_size_is_taken_where_it_is_clearly_faster() -> None:
    sizes = work(BatchGrowth(64, CPU), lambda size: size / (1e-3 + size * 1e-6))
    assert sizes[-1] == 256  # twice as large twice, and no more
    assert sizes.count(64) >= CPU.to_accept


@pytest.mark.parametrize("rules", [CPU, GPU])
def test_accidents_do_not_make_batches_slower(rules: Rules) -> None:
    """Other work slows half of the batches, up to four times."""
    rng, worse = np.random.default_rng(0), 0
    for _ in range(200):
        rate = (lambda size: cache(size)) if rules is CPU else of_curve(H200)
        first = 256 if rules is CPU else 1024
        noisy = lambda size, rate=rate: rate(size) / (1 + 3 * max(0.0, rng.uniform(-1, 1)))  # noqa: E731
        size = work(BatchGrowth(first, rules), noisy)[-1]
        worse += rate(size) < 0.97 * rate(first)
    assert worse == 0


def test_on_a_busy_cpu_the_size_that_suits_the_cache_stays() -> None:
    """Every batch is slowed, by up to four times."""
    rng, kept = np.random.default_rng(0), list[bool]()
    for _ in range(200):
        busy = lambda size: cache(size) / (1 + 3 * rng.random())  # noqa: E731
        kept.append(work(BatchGrowth(256, CPU), busy)[-1] == 256)
    assert all(kept)


def test_accidents_do_not_keep_a_gpu_from_growing() -> None:
    rng, rate, best = np.random.default_rng(1), of_curve(H200), []
    for _ in range(50):
        slowed = lambda size: rate(size) / (1 + (rng.random() < 0.1))  # noqa: E731
        best.append(work(BatchGrowth(1024, GPU), slowed)[-1])
    assert np.mean(np.array(best) >= 4096) > 0.9


def test_the_size_stops_at_the_bound_of_memory() -> None:
    sizes = work(growth := BatchGrowth(1024, GPU), of_curve(H200), bound=2048)
    assert max(sizes) == 2048
    assert growth.is_settled(2048)
    assert work(BatchGrowth(1024, GPU), of_curve(H200), bound=16)[-1] == 16


def test_a_size_that_work_cannot_fill_is_not_tried() -> None:
    growth = BatchGrowth(1024, GPU)
    for _ in range(5):
        assert growth.next_size(available=1500) == 1024
        growth.record(1024, 1024, 0.01)
    assert growth.is_settled(available=1500)
    assert growth.next_size(available=4000) == 2048
    assert not growth.is_settled(available=4000)


def test_a_size_that_is_compiled_for_must_be_worth_the_compilation() -> None:
    growth, sizes = BatchGrowth(1024, GPU, compiles=True), []
    growth.record(1024, 1024, 10.0)  # compiles
    for _ in range(1100):
        sizes.append(growth.next_size())
        growth.record(sizes[-1], sizes[-1], 0.01)
    assert set(sizes[:999]) == {1024}  # ten seconds of work
    assert max(sizes) > 1024


def test_the_size_is_measured_again_where_the_device_has_become_slow() -> None:
    growth = BatchGrowth(1024, GPU)
    assert work(growth, of_curve(H200))[-1] == 4096
    shared = lambda size: 1000 if size <= 2048 else 500  # noqa: E731
    sizes = work(growth, shared, 100)
    assert sizes[:3] == [4096] * 3
    assert sizes[-1] <= 2048


def test_a_device_that_has_become_slower_can_still_gain() -> None:
    """The rates of two sizes are compared in the same minutes."""
    growth, rate = BatchGrowth(1024, GPU), of_curve(H200)
    for _ in range(2):  # the first is not counted
        growth.record(1024, 1024, 1024 / rate(1024))
    assert work(growth, lambda size: rate(size) / 2)[-1] == 4096


def test_a_first_batch_that_cannot_fit_is_not_tried() -> None:
    bound = MemoryBound(1e6)
    assert bound.evaluations(None) == LARGEST  # nothing is known
    assert bound.evaluations(int(1.6e9)) == 512  # half of it: 800, as a power of two
    assert bound.evaluations(int(1e5)) == 1


def test_the_estimate_of_memory_is_corrected_by_what_batches_take() -> None:
    bound = MemoryBound(1e6)
    bound.record(512, int(512 * 2e5))
    assert bound.evaluations(int(1.6e9)) == 2048
    bound.record(512, 1000, is_full=False)
    assert bound.evaluations(int(1.6e9)) == 2048
    bound.record(512, int(512 * 4e5), is_full=False)  # a full one takes at least as much
    assert bound.evaluations(int(1.6e9)) == 1024
    bound.record(512, -1000)  # what a method keeps was estimated too high
    assert bound.evaluations(int(1.6e9)) == 4096


def test_a_device_that_runs_out_of_memory_gets_half_at_once() -> None:
    growth, bound, sizes, failures = BatchGrowth(1024, GPU), MemoryBound(1.0), [], []
    rate = of_curve(H200)
    for _ in range(30):
        size = growth.next_size(bound.evaluations(None))
        sizes.append(size)
        if size > 700:
            failures.append(size)
            assert bound.run_out(size, size)
            continue
        growth.record(size, size, size / rate(size))
    assert failures == [1024]
    assert set(sizes[1:]) == {512}
    bound.run_out(2, 2)
    assert bound.most_examples == 1
    assert not bound.run_out(1, 1)
    assert growth.next_size(bound.evaluations(None)) == 1
