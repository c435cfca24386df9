"""Leases of GPUs and of shares of them, between real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipelines.engine import gpu_driver, gpu_leases
from beam_pipelines.engine.gpu_leases import NoFreeGpuError

_HOLD = """
import json, sys, time
from beam_pipelines.engine import gpu_leases
names, most, processes_per_gpu = json.loads(sys.argv[1])
print(json.dumps(list(gpu_leases.lease_gpus(names, 1, most, processes_per_gpu))), flush=True)
time.sleep(600)
"""
Holder = subprocess.Popen[str]


@pytest.fixture(autouse=True)
def separate_leases(leases: Path) -> Iterator[list[Holder]]:
    holders: list[Holder] = []
    yield holders
    for holder in holders:
        end(holder)


def hold(holders: list[Holder], names: str, most: int = 1, processes_per_gpu: int = 1) -> list[int]:
    """Start another process that leases GPUs; their positions."""
    arguments = json.dumps([names.split(","), most, processes_per_gpu])
    holders.append(subprocess.Popen([sys.executable, "-c", _HOLD, arguments], stdout=subprocess.PIPE, text=True))
    output = holders[-1].stdout
    assert output
    leased: list[int] = json.loads(output.readline())
    return leased


def end(holder: Holder) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()


def test_no_two_processes_get_one_gpu(separate_leases: list[Holder]) -> None:
    assert hold(separate_leases, "0,1,2") == [0]
    assert list(gpu_leases.lease_gpus(["0", "1", "2"], 1, 1)) == [1]
    assert list(gpu_leases.lease_gpus(["0", "1", "2"], 1, 3)) == [1, 2]  # as many as are free
    other = separate_leases[0]
    with pytest.raises(NoFreeGpuError, match=rf"needs 3 of the GPUs.*\(0: process {other.pid};.*--gpus 0"):
        gpu_leases.lease_gpus(["0", "1", "2"], 3, 3)
    end(other)
    assert list(gpu_leases.lease_gpus(["0"], 1, 1)) == [0]  # the lease of a process ends with it, however that ends


def test_a_process_that_cannot_lease_enough_leases_none(separate_leases: list[Holder]) -> None:
    hold(separate_leases, "0,1")
    with pytest.raises(NoFreeGpuError, match="needs 2 of the GPUs"):
        gpu_leases.lease_gpus(["0", "1"], 2, 2)
    end(separate_leases[0])
    assert hold(separate_leases, "0,1", most=2) == [0, 1]


def test_processes_share_a_gpu_and_first_take_an_empty_one(separate_leases: list[Holder]) -> None:
    names = ["0", "1"]
    assert [hold(separate_leases, "0,1", processes_per_gpu=2) for _ in range(3)] == [[0], [1], [0]]
    assert [gpu_leases.count_free(name, 2) for name in names] == [0, 1]
    assert list(gpu_leases.lease_gpus(names, 1, 1, 2)) == [1]
    assert [gpu_leases.count_free(name, 2) for name in names] == [0, 0]
    gpu_leases.release_gpus()
    end(separate_leases[2])  # frees the second half of GPU 0
    assert [gpu_leases.count_free(name, 2) for name in names] == [1, 1]


def test_processes_that_disagree_on_the_share_never_have_more_than_one_gpu(separate_leases: list[Holder]) -> None:
    hold(separate_leases, "0", processes_per_gpu=4)
    other = separate_leases[0]
    assert gpu_leases.count_free("0", 1) == 0
    with pytest.raises(NoFreeGpuError, match=rf"\(0: 1/4 by process {other.pid}\)"):  # the whole is not to be had
        gpu_leases.lease_gpus(["0"], 1, 1)
    hold(separate_leases, "0", processes_per_gpu=2)  # one half more is
    assert [gpu_leases.count_free("0", n) for n in (1, 2, 4, 8)] == [0, 0, 1, 2]
    end(separate_leases[1])
    end(other)
    hold(separate_leases, "0")
    with pytest.raises(NoFreeGpuError, match=r"\(0: process \d+\)"):  # beside the whole there is no fourth
        gpu_leases.lease_gpus(["0"], 1, 1, 4)


def test_a_lease_that_becomes_free_ends_the_wait(separate_leases: list[Holder]) -> None:
    hold(separate_leases, "0")
    reasons: list[str] = []

    def keep_waiting(reason: str) -> bool:
        reasons.append(reason)
        if len(reasons) == 2:
            end(separate_leases[0])
        return len(reasons) < 5

    assert list(gpu_leases.lease_gpus(["0"], 1, 1, keep_waiting=keep_waiting)) == [0]
    assert len(reasons) in (2, 3)


def test_a_lease_is_kept_while_another_process_describes_the_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    make_file, descriptions = tempfile.mkstemp, list[str]()

    def make_and_describe(*arguments: str) -> tuple[int, str]:
        made = make_file(*arguments)  # not yet locked
        descriptions.append(gpu_leases.describe_holders(["0"], 1))  # as another process: flock is of an open file
        return made

    monkeypatch.setattr(gpu_leases, "_SECONDS_TO_LOCK", 0.0)
    monkeypatch.setattr(tempfile, "mkstemp", make_and_describe)
    assert list(gpu_leases.lease_gpus(["0"], 1, 1)) == [0]
    assert "(0: another process)" in descriptions[0]
    assert gpu_leases.count_free("0", 1) == 0
    assert f"(0: process {os.getpid()})" in gpu_leases.describe_holders(["0"], 1)


def test_the_free_memory_is_divided_among_all_that_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([1000, 700])
    monkeypatch.setattr(gpu_driver, "memory", lambda _: gpu_driver.Memory(next(free), 2000))
    shares = []
    for _ in range(2):  # as of two processes: the second sees less free memory, of which the first has taken some
        shares.append(gpu_leases.lease_gpus(["0"], 1, 1, 2)[0])
        gpu_leases._leases.clear()
    assert [share.memory for share in shares] == [500, 500]
    for share in shares:
        os.close(share.file)
    assert gpu_leases.lease_gpus(["0"], 1, 1)[0].memory == 700
