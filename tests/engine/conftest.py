"""Fixtures of these tests: an S3 server, leases of GPUs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipelines.engine import gpu_leases
from tests.s3_server import bucket, logs, server  # noqa: F401  fixtures


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the lock files of a test, whose leases are dropped when it ends. Nobody waits long for a GPU."""
    folder = tmp_path / "leases"
    folder.mkdir()
    monkeypatch.setattr(gpu_leases.tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(gpu_leases, "_leases", {})
    monkeypatch.setattr(gpu_leases, "SECONDS_TO_WAIT", 0.5)
    yield folder
    gpu_leases.release_gpus()
