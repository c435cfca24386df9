"""Prism, built from its Go module, has the same results as the local runner."""

from __future__ import annotations

import re
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from examples import beam_pipeline
from tests.pipeline_runs import Run, assert_same, pictures, write_records
from tests.runners.workers import ENGINES, pool
from tests.transforms.test_example import check_rows
from tests.transforms.test_windowed_stores import LATENESS, read, run_stream, timed

PRISM = ENGINES / "prism"
pytestmark = pytest.mark.skipif(not PRISM.exists(), reason="make test-prism builds Prism")

FLAGS = ["--runner=PrismRunner", f"--prism_location={PRISM}", "--unit_size=8"]


@pytest.fixture
def here(image: Run, tmp_path: Path) -> tuple[Path, Run]:
    """Examples, two of them bad, and the store that the local runner writes for them."""
    examples = pictures(60)
    source = write_records(tmp_path / "a.tfrecord", [*examples[:20], b"no example", {"image": [1.0]}, *examples[20:]])
    local = Run(image.model, tmp_path / "here")
    assert local(source, "--unit_size=8") == 1
    return source, local


def test_in_this_process(image: Run, here: tuple[Path, Run]) -> None:
    source, local = here
    assert image(source, *FLAGS) == 1
    assert_same(local, image)
    assert image.store.manifest["options"]["runner"] == "PrismRunner"
    assert image.store.errors().to_pylist() == local.store.errors().to_pylist()


def test_in_worker_processes(image: Run, here: tuple[Path, Run], tmp_path: Path) -> None:
    source, local = here
    log = tmp_path / "pool.log"
    with pool(log) as address:
        assert image(source, *FLAGS, "--environment_type=EXTERNAL", f"--environment_config={address}") == 1
    assert_same(local, image)
    assert image.store.errors().to_pylist() == local.store.errors().to_pylist()
    assert len(re.findall("Starting worker", log.read_text())) == 1  # Prism's way: one worker for an environment


def test_the_example_of_a_pipeline(tmp_path: Path) -> None:
    beam_pipeline.main(["--output", str(tmp_path), *FLAGS[:2]])
    check_rows(tmp_path)


@pytest.mark.parametrize("is_allowed", [False, True])
def test_a_store_for_each_window_of_a_stream(is_allowed: bool, image: Run, tmp_path: Path) -> None:
    """Elements that come later than is allowed are in no store, and the counters tell."""
    p = beam.Pipeline(options=PipelineOptions([*FLAGS[:2], "--streaming", "--environment_type=LOOPBACK"]))
    counters = run_stream(p, image.model, tmp_path, timed(1), **(LATENESS if is_allowed else {}))
    assert read(tmp_path) == {
        "030000Z": {"p00", "p01"} if is_allowed else {"p00"},
        "030200Z": {"p02"},
        "030800Z": {"p09"},
    }
    assert counters == {"examples_written": 4, "examples_committed": 4 if is_allowed else 3}
