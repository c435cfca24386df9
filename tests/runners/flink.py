"""A Flink cluster on this machine: one process each for a job manager, two task managers and Beam's job server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.runners.workers import ENGINES, free_port, wait_for

FLINK = ENGINES / "flink"
JAVA = shutil.which("java")

# Without Flink's shell scripts, which PyPI's package lacks, nobody works these out.
_MEMORY = {
    "taskmanager.cpu.cores": 1,
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
    "taskmanager.memory.task.heap.size": "384m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.managed.size": "128m",
}
_OPEN = "lang lang.reflect lang.invoke net io nio util util.concurrent util.concurrent.atomic util.concurrent.locks text time".split()
_JAVA = [*(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPEN), "-Xmx768m"]


class Cluster:
    """Its processes, and what it says of its jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.task_managers: list[subprocess.Popen[bytes]] = []
        self.rest, rpc = free_port(), free_port()
        self._configure(
            {
                "jobmanager.rpc.address": "localhost",
                "jobmanager.rpc.port": rpc,
                "rest.address": "localhost",
                "rest.port": self.rest,
                "taskmanager.host": "localhost",
                "taskmanager.numberOfTaskSlots": 2,  # what is left after one has died can do all
                "taskmanager.load-balance.mode": "SLOTS",  # else the first one is filled before the second
                "parallelism.default": 2,
                "heartbeat.interval": 1000,
                "heartbeat.timeout": 6000,
                **_MEMORY,
            }
        )

    def start(self) -> None:
        self._flink("jobmanager", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint")
        wait_for(self.rest)
        for _ in range(2):
            self.add_task_manager()
        self._wait_for_task_managers(2)
        self.job_endpoint = f"localhost:{self._job_server()}"

    def add_task_manager(self) -> None:
        name = f"taskmanager-{len(self.task_managers)}"
        self.task_managers.append(self._flink(name, "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"))

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://localhost:{self.rest}/{path}", timeout=10) as answer:
            return json.load(answer)

    def busy(self) -> int:
        """How many task managers have work."""
        return sum(t["freeSlots"] < t["slotsNumber"] for t in self.ask("taskmanagers")["taskmanagers"])

    def _wait_for_task_managers(self, number: int) -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until and all(process.poll() is None for process in self._processes):
            with contextlib.suppress(urllib.error.HTTPError):  # it listens before it can answer
                if len(self.ask("taskmanagers")["taskmanagers"]) >= number:
                    return
            time.sleep(0.3)
        raise TimeoutError(f"no {number} task managers; see {self._folder}")

    def _configure(self, options: dict[str, Any]) -> None:
        lines = (f"{name}: {value}\n" for name, value in options.items())
        (self._folder / "config.yaml").write_text("".join(lines))
        (self._folder / "log4j.properties").write_text(
            "rootLogger.level = INFO\nrootLogger.appenderRef.out.ref = Out\nappender.out.name = Out\n"
            "appender.out.type = CONSOLE\nappender.out.layout.type = PatternLayout\n"
            "appender.out.layout.pattern = %d %-5p %c{1} - %m%n\n"
        )

    def _flink(self, name: str, main: str) -> subprocess.Popen[bytes]:
        log = f"-Dlog4j.configurationFile={self._folder / 'log4j.properties'}"
        return self._java(name, FLINK / "dist" / "lib", main, log, "--configDir", str(self._folder))

    def _job_server(self) -> int:
        port = free_port()
        self._java(
            "jobserver",
            FLINK / "job-server",
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
            f"--flink-master=localhost:{self.rest}",
            f"--job-port={port}",
            f"--artifact-port={free_port()}",
            f"--expansion-port={free_port()}",
            f"--artifacts-dir={self._folder / 'artifacts'}",
        )
        wait_for(port)
        return port

    def _java(self, name: str, jars: Path, main: str, define: str, *arguments: str) -> subprocess.Popen[bytes]:
        assert JAVA
        with (self._folder / f"{name}.log").open("wb") as log:
            command = [JAVA, *_JAVA, define, "-cp", f"{jars}/*", main, *arguments]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, env={**os.environ})
        self._processes.append(process)
        return process


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    flink_cluster = Cluster(folder)
    try:
        flink_cluster.start()
        yield flink_cluster
    finally:
        flink_cluster.stop()
