"""Keeps TensorFlow's and Beam's chatter off the terminal; what is an error still shows."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

# Written by native code before its log level can be set, or, on a machine without a GPU, as an error that is none.
_CHATTER = re.compile(
    rb"^([IW]\d{4} |WARNING: All log messages before absl|To enable the following instructions|E\d{4} .*(cuInit|Unable to register cu))"
)

_VARIABLE = "TB_DEEPEXPLAIN_QUIET"
_one_at_a_time = threading.RLock()  # there is one standard error


def silence() -> None:
    """To be called by a program before it imports TensorFlow or Beam, never by a library."""
    os.environ[_VARIABLE] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger().setLevel(logging.CRITICAL)  # Beam logs on the root logger even while it is imported
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    threading.excepthook = lambda _: None  # the runner's own threads: what they report, it also raises


def is_silent() -> bool:
    """Whether this process, or the one that started it, called `silence`."""
    return _VARIABLE in os.environ


@contextlib.contextmanager
def chatter_filtered() -> Iterator[None]:
    """Around an import or the first use of devices: holds back the standard error of native code, then lets through what is not chatter."""
    if not is_silent():
        yield
        return
    sys.stderr.flush()
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            kept = [line for line in held if not _CHATTER.match(line)]
            if kept:
                os.write(2, b"".join(kept))
