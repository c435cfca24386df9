"""Beam's worker pool, for several task managers of one machine: they all call their workers 1-1.

Beam's pool keeps workers by their id, so the first task manager to finish would stop a worker of another. Here a worker
ends when its task manager closes the connection.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


class Pool(BeamFnExternalWorkerPoolServicer):
    def StopWorker(self, request: Any, context: Any) -> beam_fn_api_pb2.StopWorkerResponse:  # noqa: N802  gRPC's name
        return beam_fn_api_pb2.StopWorkerResponse()


if __name__ == "__main__":
    _, server = Pool.start(use_process=True, port=int(sys.argv[1]))  # listens as long as there is a reference to it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server.wait_for_termination()
