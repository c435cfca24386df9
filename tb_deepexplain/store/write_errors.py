"""Errors while a store is written, as sentences that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import is_remote


@contextlib.contextmanager
def as_store_error(directory: Path) -> Iterator[None]:
    """Turns an error of the file system into a StoreError. Remote file systems raise errors of many types."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreError) or not (isinstance(error, OSError) or is_remote(directory)):
            raise
        raise StoreError(_explain(directory, error)) from error


def _explain(directory: Path, error: Exception) -> str:
    if not isinstance(error, OSError) or is_remote(directory):
        return f"cannot write to {directory}: {type(error).__name__}: {error}; check its name and your credentials"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk that holds {directory} is full ({os.strerror(error.errno)}); make room"
    if error.errno == errno.ENOENT:
        return f"{directory} is gone: it was removed while it was being written; run again"
    return f"cannot write to {directory}: {error.strerror or error}"
