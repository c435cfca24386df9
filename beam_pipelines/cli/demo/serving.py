"""TensorBoard in a process of its own, and the browser that shows it."""

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

_STARTS_WITHIN = 60.0
# What listens on this machine is asked directly: a proxy that the environment names would look on its own.
_ASK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check_port(port: int) -> None:
    """InputError unless TensorBoard can have it."""
    if not 0 < port < 1 << 16:
        raise InputError(f"port {port} cannot be used; choose one from 1 to 65535 with --port")
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from error


def serve(logs: Path, port: int, console: Console) -> int:
    """TensorBoard until Ctrl-C."""
    address = f"http://localhost:{port}/#deepexplain"
    places = ["--logdir", str(logs), "--host", "localhost", "--port", str(port)]
    command = [sys.executable, "-m", "tensorboard.main", *places]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            with console.status("starting TensorBoard"):
                started = _answers(address, server)
            if not started:
                raise InputError(f"TensorBoard did not start; to see why: tensorboard {shlex.join(places)}")
            console.print(f"\nTensorBoard is at [bold]{address}[/] until Ctrl-C")
            _open(address)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


def _answers(address: str, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), _ASK.open(address, timeout=5):
            return True
        time.sleep(0.2)
    return False


def _open(address: str) -> None:
    """Show it where there is a screen; a text browser would take the terminal."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)
