"""Beam's DataflowRunner submits to a fake service on this machine, which records the job and runs it."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.cloud.storage", reason="make test-dataflow installs Google's clients")
emulator = pytest.importorskip("gcp_storage_emulator.server", reason="make test-dataflow installs it")

from apache_beam.internal.gcp import auth  # noqa: E402
from apache_beam.portability.api import beam_runner_api_pb2  # noqa: E402
from apache_beam.portability.common_urns import resource_hints  # noqa: E402

from tests.pipeline_runs import Run, assert_same, pictures, write_records  # noqa: E402
from tests.runners.dataflow import Service  # noqa: E402

IMAGE = "registry.example/team/deepexplain:gpu"
GPU = "type:nvidia-l4;count:1;install-nvidia-driver"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # of which the emulator knows nothing
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)  # no search for credentials
    server = emulator.create_server("localhost", port, in_memory=True, default_bucket="bucket")
    server.start()
    yield "gs://bucket"
    server.stop()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.shutdown()
    service.server_close()


def flags(service: Service, bucket: str) -> list[str]:
    return [
        "--runner=DataflowRunner",
        f"--dataflow_endpoint={service.endpoint}",
        "--no_auth",
        "--project=p",
        "--region=europe-west4",
        f"--temp_location={bucket}/tmp",
        f"--sdk_container_image={IMAGE}",
    ]


def test_a_job_for_gpus(image: Run, tmp_path: Path, service: Service, bucket: str) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(30))
    options = [*flags(service, bucket), f"--accelerator={GPU}", "--min_ram=24GB", "--num_workers=2"]
    options += ["--machine_type=g2-standard-8", "--unit_size=8"]
    assert image(source, *options) == 0
    (job,) = service.jobs
    environment = job["environment"]
    (pool,) = environment["workerPools"]

    # One step reads, explains and writes; it alone asks for a GPU and memory.
    pipeline = service.pipeline()
    asking = {t.unique_name: hints(pipeline, t) for t in leaves(pipeline) if hints(pipeline, t)}
    assert asking == {
        "ExplainUnit": {
            resource_hints.ACCELERATOR.urn: GPU.encode(),
            resource_hints.MIN_RAM_BYTES.urn: b"24000000000",
        }
    }
    names = {t.unique_name for t in leaves(pipeline)}
    assert "Units/Impulse" in names and any("Reshuffle" in name for name in names)  # units go to any worker

    # The workers are the image, with nothing to install when they start.
    images = {i["containerImage"] for i in pool["sdkHarnessContainerImages"]}
    assert images == {IMAGE}
    # (Beam notes what it was submitted with, where it finds pip.)
    assert {package["name"] for package in pool.get("packages", [])} <= {"submission_environment_dependencies.txt"}
    assert (pool["machineType"], int(pool["numWorkers"])) == ("g2-standard-8", 2)
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert "use_multiple_sdk_containers" not in environment["experiments"]
    assert environment["version"]["job_type"] == "FNAPI_BATCH"
    pipeline_options = environment["sdkPipelineOptions"]["options"]
    assert (pipeline_options["project"], pipeline_options["region"], pipeline_options["accelerator"]) == (
        "p",
        "europe-west4",
        GPU,
    )

    # And the pipeline that was staged gives what a local run gives.
    here = Run(image.model, tmp_path / "here")
    assert here(source, "--unit_size=8") == 0
    assert_same(here, image)
    assert image.store.manifest["options"]["runner"] == "DataflowRunner"


def test_a_store_in_a_bucket(image: Run, tmp_path: Path, service: Service, bucket: str) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(30))
    stored = dataclasses.replace(image, logdir=f"{bucket}/logs")
    assert stored(source, *flags(service, bucket), "--unit_size=8") == 0
    assert image(source, "--unit_size=8") == 0
    assert_same(image, stored)
    left = {path.name.partition("-")[0] for path in stored.directory.iterdir()}
    assert left == {"attributions", "inputs", "errors", "index", "configuration.json", "manifest.json"}
    assert stored(source, "--unit_size=8", "--resume") == 0


def test_a_job_without_hints_asks_for_nothing(image: Run, tmp_path: Path, service: Service, bucket: str) -> None:
    assert image(write_records(tmp_path / "a.tfrecord", pictures(3)), *flags(service, bucket)) == 0
    pipeline = service.pipeline()
    assert not any(hints(pipeline, t) for t in leaves(pipeline))
    assert "use_multiple_sdk_containers" in service.jobs[0]["environment"]["experiments"]


def test_a_template_is_described_not_started(image: Run, tmp_path: Path, service: Service, bucket: str) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(3))
    description = tmp_path / "job.json"
    assert image(source, *flags(service, bucket), f"--template_location={description}") == 0
    assert not service.jobs
    service.jobs.append(json.loads(description.read_text()))
    service.execute()
    assert image(source, "--resume") == 0  # the shards are there: index and manifest are made of them
    assert image.store.manifest["counts"]["examples"] == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--min_ram=24"], "min_ram has invalid value 24. .* as 24GB"),
        (["--sdk_container_image="], "need this package: give --sdk_container_image"),
    ],
)
def test_refused_before_anything_starts(
    image: Run,
    tmp_path: Path,
    service: Service,
    bucket: str,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    reason: str,
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(3))
    assert image(source, *flags(service, bucket), *options) == 2
    assert re.search(reason, capsys.readouterr().err)
    assert not service.requests


def leaves(pipeline: beam_runner_api_pb2.Pipeline) -> list[beam_runner_api_pb2.PTransform]:
    return [t for t in pipeline.components.transforms.values() if not t.subtransforms]


def hints(pipeline: beam_runner_api_pb2.Pipeline, transform: Any) -> dict[str, bytes]:
    environment = pipeline.components.environments.get(transform.environment_id)
    return dict(environment.resource_hints) if environment else {}
