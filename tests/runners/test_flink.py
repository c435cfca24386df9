"""A Flink cluster has the same results as the local runner, also if a task manager is killed during the run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline_runs import Run, assert_same, pictures, write_records
from tests.runners.flink import FLINK, JAVA, Cluster, cluster
from tests.runners.workers import pool

pytestmark = pytest.mark.skipif(
    not (FLINK / "job-server").exists() or not JAVA, reason="make test-flink installs Flink"
)

UNITS = 40
METHODS = "integrated_gradients,saliency"
SLOW = ["--integrated_gradients.steps=500", "--unit_size=8"]


@pytest.fixture(scope="module")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, list[str]]]:
    """A cluster, and the options that run the pipeline on it."""
    folder = tmp_path_factory.mktemp("flink")
    with cluster(folder) as flink_cluster, pool(folder / "pool.log") as address:
        flags = ["--runner=FlinkRunner", f"--job_endpoint={flink_cluster.job_endpoint}", "--parallelism=2"]
        yield flink_cluster, [*flags, "--environment_type=EXTERNAL", f"--environment_config={address}"]


@pytest.fixture
def here(image: Run, tmp_path: Path) -> tuple[Path, Run]:
    """Examples, one of them bad, and the store that the local runner writes for them."""
    source = write_records(tmp_path / "a.tfrecord", [*pictures(8 * UNITS - 1), b"no example"])
    local = Run(image.model, tmp_path / "here")
    assert local(source, *SLOW, methods=METHODS) == 1
    return source, local


def test_the_same_maps(image: Run, flink: tuple[Cluster, list[str]], here: tuple[Path, Run]) -> None:
    flink_cluster, flags = flink
    source, local = here
    assert image(source, *SLOW, *flags, methods=METHODS) == 1  # one example failed
    assert_same(local, image)
    assert image.store.errors().to_pylist() == local.store.errors().to_pylist()
    assert image.store.manifest["options"]["runner"] == "FlinkRunner"
    assert [job["state"] for job in flink_cluster.ask("jobs/overview")["jobs"]] == ["FINISHED"]


def test_a_task_manager_is_killed(image: Run, flink: tuple[Cluster, list[str]], here: tuple[Path, Run]) -> None:
    flink_cluster, flags = flink
    source, local = here
    command = [sys.executable, "-m", "beam_pipelines.attribute", f"--model={image.model}", f"--input={source}"]
    command += [f"--logdir={image.logdir}", "--run=r", f"--methods={METHODS}", *SLOW, *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    done = wait_for_shards(image.directory, 4, process)
    assert flink_cluster.busy() == 2
    flink_cluster.task_managers[0].kill()
    killed = time.monotonic()
    _, output = process.communicate(timeout=600)
    ended = time.monotonic() - killed
    assert done < UNITS, "the kill came too late to show anything"
    if process.returncode != 1:  # else it has recovered; 1 is for the example that failed
        assert ended < 60, "it took too long to fail"
        assert process.returncode == 2 and "--resume" in output, output
        assert not (image.directory / "manifest.json").exists()
        assert image(source, *SLOW, *flags, "--resume", methods=METHODS) == 1
    assert_same(local, image)  # which counts every id: none twice, none missing
    assert image.store.errors().to_pylist() == local.store.errors().to_pylist()
    print(
        f"killed after {done} of {UNITS} units; exit status {process.returncode} {ended:.0f} s later: {output.splitlines()[-1:]}"
    )


def wait_for_shards(directory: Path, number: int, process: subprocess.Popen[str]) -> int:
    until = time.monotonic() + 600
    while (shards := len(list(directory.glob("attributions-*.parquet")))) < number:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    return shards
