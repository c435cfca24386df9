"""The main program of a worker process of the local runner. It ignores Ctrl-C, which the driver handles for all."""

from __future__ import annotations

import io
import logging
import signal
import sys

from beam_pipelines.engine import worker_processes
from beam_pipelines.engine.native_logs import filter_native_stderr, logs_are_silenced


def main() -> None:
    """Serve the runner that started this process."""
    worker_processes.register_worker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if logs_are_silenced():
        logging.disable()  # errors are sent to the driver, which reports them
    with filter_native_stderr():
        from apache_beam.runners.worker import sdk_worker_main

        import tb_deepexplain.recording.batch_explainer  # noqa: F401  imports TensorFlow now, rather than with the first unit
    if logs_are_silenced():
        sys.stderr = io.StringIO()  # Beam prints tracebacks as well; native code still writes to the terminal
    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
