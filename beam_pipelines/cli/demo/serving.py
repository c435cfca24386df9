"""Starts TensorBoard in a separate process and opens it in the browser."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

from rich.console import Console

from tb_deepexplain.errors import InputError

_START_TIMEOUT = 60.0  # seconds
# Without a proxy from the environment: it would look for `localhost` on another machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check_port(port: int) -> None:
    """InputError if TensorBoard cannot listen on the port."""
    if not 0 < port < 1 << 16:
        raise InputError(f"port {port} cannot be used; choose one from 1 to 65535 with --port")
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from error


def serve(logs: Path, port: int, console: Console) -> int:
    """Run TensorBoard until Ctrl-C; its exit status."""
    address = f"http://localhost:{port}/#deepexplain"
    options = ["--logdir", str(logs), "--host", "localhost", "--port", str(port)]
    command = [sys.executable, "-m", "tensorboard.main", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            with console.status("starting TensorBoard"):
                started = _wait_for_answer(address, server)
            if not started:
                raise InputError(f"TensorBoard did not start; to see why, run: tensorboard {shlex.join(options)}")
            console.print(f"\nTensorBoard runs at [bold]{address}[/]; Ctrl-C stops it")
            _open_browser(address)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


def _wait_for_answer(address: str, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), _OPENER.open(address, timeout=5):
            return True
        time.sleep(0.2)
    return False


def _open_browser(address: str) -> None:
    """Only where there is a screen: a text browser would take over the terminal."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)
