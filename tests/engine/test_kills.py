"""Kills workers and drivers at random moments: no example is lost, none is stored twice.

`make test-kills` kills 20 times; KILLS=N sets another number, SEED=N repeats the same moments.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tb_deepexplain.store.writer import StoreWriter
from tests.pipeline_runs import Run, assert_same, pictures, write_records

EXAMPLES, UNIT = 300, 5
ROOT = Path(__file__).parents[2]


def start(run: Run, source: Path) -> subprocess.Popen[str]:
    options = [
        f"--model={run.model}", f"--input={source}", f"--logdir={run.logdir}", "--run=r", f"--unit_size={UNIT}",
        "--methods=saliency,gradient_x_input", "--resume",
        "--direct_num_workers=2", "--direct_running_mode=multi_processing",
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "beam_pipelines.attribute", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
    )


def worker_ids(driver: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(driver.pid)], capture_output=True, text=True, check=False)
    return [int(number) for number in listed.stdout.split()]


def kill(driver: subprocess.Popen[str], victim: str, chance: random.Random) -> bool:
    if victim == "driver":
        driver.kill()
        return True
    process_ids = worker_ids(driver)
    if process_ids:
        os.kill(chance.choice(process_ids), signal.SIGKILL)
    return bool(process_ids)


def has_progressed(run: Run, begun: int) -> bool:
    return len(StoreWriter(run.directory).finished_units()) > begun


def check(run: Run) -> None:
    """The store has all examples, once each, and no leftovers."""
    store = run.store
    ids = collections.Counter(zip(*(store.index.column(n).to_pylist() for n in ("example_id", "method")), strict=True))
    expected = {(f"a:{i:06d}", m): 1 for i in range(EXAMPLES) for m in ("saliency", "gradient_x_input")}
    assert ids == expected
    assert store.manifest["counts"] == {"examples": EXAMPLES, "maps": 2 * EXAMPLES, "errors": 0}
    assert store.manifest["spent"]["examples"] == EXAMPLES
    assert len(store.manifest["units"]) == EXAMPLES // UNIT
    assert not [path for path in run.directory.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif("KILLS" not in os.environ, reason="a minute for every two of them: make test-kills")
def test_no_example_is_lost_or_stored_twice(exported: Callable[[str], Path], tmp_path: Path) -> None:
    kills, seed = int(os.environ["KILLS"]), os.environ.get("SEED") or str(random.randrange(10**6))
    chance = random.Random(seed)
    source = write_records(tmp_path / "a.tfrecord", pictures(EXAMPLES))
    whole = Run(exported("image"), tmp_path / "whole")
    assert whole(source, f"--unit_size={UNIT}") == 0
    order = ["worker", "driver"] * kills
    done, stores, output = collections.Counter[str](), 0, ""
    while done.total() < kills:
        stores += 1
        run = Run(whole.model, tmp_path / f"logs{stores}")
        status = None
        while status != 0:
            # Workers take longer to start than to explain: most kills wait until units are finished.
            at_work, begun = chance.random() < 0.7, len(StoreWriter(run.directory).finished_units())
            with start(run, source) as driver:
                while driver.poll() is None:
                    try:
                        driver.wait(chance.uniform(0.1, 1) if at_work else chance.uniform(1, 15))
                    except subprocess.TimeoutExpired:
                        victim = order[done.total()]
                        ready = has_progressed(run, begun) if at_work else True
                        if done.total() < kills and ready and kill(driver, victim, chance):
                            done[victim] += 1
                            at_work, begun = chance.random() < 0.7, len(StoreWriter(run.directory).finished_units())
                assert driver.stderr
                status, output = driver.returncode, driver.stderr.read()
            assert status in (0, 2, -signal.SIGKILL), output
            assert (run.directory / "manifest.json").exists() == (status == 0), output
            assert "Traceback" not in output, output
        check(run)
        if stores == 1:
            assert_same(whole, run)
    print(f"seed {seed}: {dict(done)} killed, {stores} stores of {EXAMPLES} examples, none lost, none twice")
    if kills >= 2:
        assert set(done) == {"worker", "driver"}


@pytest.mark.skipif("KILLS" not in os.environ, reason="a minute of workers that start: make test-kills")
def test_an_example_that_kills_every_worker_becomes_an_error(
    exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "def parse(record):\n"
        "    if record.get('id', [b''])[0] == b'deadly':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return {'image': record['image'].reshape(8, 8, 3)}\n"
    )
    monkeypatch.chdir(tmp_path)
    rows = pictures(12)
    rows[6]["id"] = "deadly"
    run = Run(exported("image"), tmp_path / "logs")
    processes = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = write_records(tmp_path / "a.tfrecord", rows)
    assert run(source, "--unit_size=4", "--preprocess=deadly:parse", *processes) == 1
    assert run.store.manifest["counts"]["examples"] == 11
    (error,) = run.store.errors().to_pylist()
    assert (error["example_id"], error["stage"], error["error"]) == ("a:000006", "parse", "WorkerDied")
