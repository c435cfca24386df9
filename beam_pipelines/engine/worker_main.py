"""A worker process of the local runner: as quiet as the driver, and deaf to Ctrl-C, which the driver handles for all."""

from __future__ import annotations

import io
import logging
import signal
import sys

from beam_pipelines.engine import worker_processes
from beam_pipelines.engine.native_logs import chatter_filtered, is_silent


def main() -> None:
    """Serve the runner that started this process."""
    worker_processes.register()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if is_silent():
        logging.disable()  # errors travel to the driver, which tells them
    with chatter_filtered():
        from apache_beam.runners.worker import sdk_worker_main

        import tb_deepexplain.recording.batch_explainer  # noqa: F401  TensorFlow would otherwise come, and chatter, with the first unit
    if is_silent():
        sys.stderr = io.StringIO()  # Beam prints tracebacks besides; native code still writes to the terminal
    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
