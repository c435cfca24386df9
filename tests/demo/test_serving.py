"""The last step of the demo, in a separate process: TensorBoard answers, and Ctrl-C ends both."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path

import pytest
from rich.console import Console
from beam_pipelines.cli.demo.serving import serve

pytestmark = pytest.mark.slow
sys.exit(serve(Path(sys.argv[1]), int(sys.argv[2]), Console()))
"""


def test_tensorboard_serves_until_ctrl_c_despite_a_proxy(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    no_screen = {
        name: value for name, value in os.environ.items() if "DISPLAY" not in name and "proxy" not in name.lower()
    }
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path), str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env=no_screen | {"http_proxy": "http://localhost:9", "PYTHONUNBUFFERED": "1"},
        # As in a terminal. A shell starts background jobs, perhaps this suite, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as demo:
        assert demo.stdout is not None
        try:
            line = next(text for text in demo.stdout if text.strip())
            assert f"http://localhost:{port}/#deepexplain" in line
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"http://localhost:{port}/data/plugins_listing", timeout=60) as answer:
                assert b"deepexplain" in answer.read()
            demo.send_signal(signal.SIGINT)
            assert demo.wait(timeout=120) == 0
        finally:
            demo.kill()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("localhost", port))  # TensorBoard is gone too
