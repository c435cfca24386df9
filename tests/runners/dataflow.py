"""A fake of Dataflow's API (`Service`): accepts a job, runs its staged pipeline in this process, reports that it is done."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import environments
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


class Service(ThreadingHTTPServer):
    """Listens on a free port; `jobs` are those that were submitted, as JSON."""

    def __init__(self) -> None:
        super().__init__(("localhost", 0), _Handler)
        self.jobs: list[dict[str, Any]] = []
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://localhost:{self.server_port}"

    def pipeline(self) -> beam_runner_api_pb2.Pipeline:
        """The staged pipeline of the last job."""
        url = self.jobs[-1]["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
        with FileSystems.open(url) as file:
            return beam_runner_api_pb2.Pipeline.FromString(file.read())

    def execute(self) -> None:
        """Run the last job as Dataflow would, but in this process instead of containers."""
        pipeline = self.pipeline()
        for environment in pipeline.components.environments.values():
            assert environment.urn == environments.DOCKER.urn
            environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
            del environment.dependencies[:]
        FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.jobs.append(job)
        self.server.execute()
        self._answer(self._job("JOB_STATE_PENDING"))

    def do_GET(self) -> None:
        is_job = self.path.split("?")[0].endswith("/job-1")
        self._answer(self._job("JOB_STATE_DONE") if is_job else {})

    def _job(self, state: str) -> dict[str, Any]:
        job = self.server.jobs[-1]
        return {
            "id": "job-1",
            "projectId": "p",
            "name": job["name"],
            "location": "europe-west4",
            "currentState": state,
            "clientRequestId": job.get("clientRequestId", ""),
        }

    def _answer(self, content: dict[str, Any]) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
