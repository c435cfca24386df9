"""Keeps log lines of TensorFlow and Beam off the terminal. Errors are still shown."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

# Native code writes these before its log level can be set, or, on a machine without a GPU, although nothing is wrong.
_LOG_LINE = re.compile(
    rb"^([IW]\d{4} |WARNING: All log messages before absl|To enable the following instructions|E\d{4} .*(cuInit|Unable to register cu))"
)
_VARIABLE = "TB_DEEPEXPLAIN_QUIET"  # worker processes inherit it
_RUNNER_PACKAGES = ("apache_beam", "grpc")
_stderr_lock = threading.RLock()  # a process has only one standard error


def silence_logs() -> None:
    """Only for a program, before it imports TensorFlow or Beam: changes logging of the whole process.

    Threads that Beam or gRPC start no longer print their errors; the runner raises them, too. Errors of all other threads
    are reported as before.
    """
    os.environ[_VARIABLE] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger().setLevel(logging.CRITICAL)  # Beam logs on the root logger, even while it is imported
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    report = threading.excepthook

    def report_unless_runner(args: threading.ExceptHookArgs) -> None:
        if not is_runner_thread(args):
            report(args)

    threading.excepthook = report_unless_runner


def logs_are_silenced() -> bool:
    """Whether this process, or the one that started it, called `silence_logs`."""
    return _VARIABLE in os.environ


def is_runner_thread(args: threading.ExceptHookArgs) -> bool:
    """Whether the thread that raised runs a function of Beam or gRPC."""
    frame = args.exc_traceback
    while frame is not None and frame.tb_frame.f_globals.get("__name__") == "threading":
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return module.partition(".")[0] in _RUNNER_PACKAGES


@contextlib.contextmanager
def filter_native_stderr() -> Iterator[None]:
    """For an import or the first use of devices: holds standard error back, then prints it without log lines.

    Does nothing unless logs are silenced.
    """
    if not logs_are_silenced():
        yield
        return
    sys.stderr.flush()
    with _stderr_lock, tempfile.TemporaryFile() as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            lines = [line for line in held if not _LOG_LINE.match(line)]
            if lines:
                os.write(2, b"".join(lines))
