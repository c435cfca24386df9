"""`tb-deepexplain demo`: three real models, explained the way a model of one's own would be, in TensorBoard."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from types import ModuleType

from rich.console import Console

from tb_deepexplain import __version__
from tb_deepexplain.demo import packages
from tb_deepexplain.errors import InputError

LOGDIR = "demo_logdir"
_PREPARED = "arguments.txt"  # written last: what is beside it is complete
_STARTS_WITHIN = 60.0


def main(logdir: str | None = None, serve: bool = True, port: int = 6006) -> int:
    """Run it; 0, or the exit status of a pipeline that failed. InputError where it cannot begin."""
    packages.check()
    logs = Path(logdir or LOGDIR)
    work = logs.parent / f"{logs.name}_models"
    for folder in (logs, work):
        _check_writable(folder)
    if serve:
        _check_port(port)
    console, started = Console(highlight=False), time.monotonic()
    for name, what in {
        "photos": "photographs through EfficientNet-Lite0, trained on ImageNet",
        "digits": "handwritten digits through a small CNN",
        "reviews": "sentences of film reviews through a text CNN",
    }.items():
        console.print(f"\n[bold]{name}[/]: {what}")
        if status := _explain(name, work / name, logs):
            return status
    console.print(f"\nall done in {time.monotonic() - started:.0f} s")
    if not serve:
        console.print(f"now: tensorboard --logdir {logs}")
        return 0
    return _serve(logs, port, console)


def _explain(name: str, folder: Path, logs: Path) -> int:
    """Prepare model and data unless they stand, and run the pipeline on them."""
    from beam_pipelines.quiet import chatter_filtered

    with chatter_filtered():
        import tensorflow as tf

        from beam_pipelines.attribute import main as attribute

        example: ModuleType = importlib.import_module(f"tb_deepexplain.demo.{name}")
        tf.keras.utils.set_random_seed(0)  # and wake the devices, which have things to say
        tf.config.list_logical_devices()
    methods = [f"--methods={','.join(example.METHODS)}"]
    for method, parameters in example.METHODS.items():
        methods += [f"--{method}.{parameter}={value}" for parameter, value in parameters.items()]
    made_by, prepared = f"{__version__} {' '.join(methods)}", folder / _PREPARED
    mode, known = "--resume", prepared.read_text(encoding="utf-8").split("\n") if prepared.exists() else [""]
    if known[0] != made_by:  # never made, not finished, or made by another version
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mode, known = "--overwrite", [made_by, *example.prepare(folder)]
        prepared.write_text("\n".join(known), encoding="utf-8")
    place = ["--model", str(folder / "model"), "--logdir", str(logs), "--run", name, mode]
    return attribute([*place, *known[1:], *methods])


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}); choose another place with --logdir") from error


def _check_port(port: int) -> None:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"port {port} cannot be used ({reason}); choose another with --port") from error


def _serve(logs: Path, port: int, console: Console) -> int:
    """TensorBoard until Ctrl-C."""
    address = f"http://localhost:{port}/#deepexplain"
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(logs),
        "--host",
        "localhost",
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            if not _answers(address, server):
                raise InputError(f"TensorBoard did not start; to see why: tensorboard --logdir {logs} --port {port}")
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
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(address, timeout=5):  # noqa: S310
            return True
        time.sleep(0.2)
    return False


def _open(address: str) -> None:
    """Show it where there is a screen; a text browser would take the terminal."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)
