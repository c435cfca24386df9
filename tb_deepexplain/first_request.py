"""The first request to a remote storage, with a time limit: clients of some storages wait and try again for many minutes."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import TypeVar

from tb_deepexplain.errors import ParameterError

SECONDS = 20.0  # after which a storage that does not answer is given up
_SECONDS_TO_NOTICE = 3.0  # until a line says what is waited for
_SECONDS_TO_RETRY = 60.0  # until a storage that did not answer is tried once more
_ENDPOINTS = {  # variables of the environment that name the server of a scheme
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "s3a": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": ("STORAGE_EMULATOR_HOST",),
    "gcs": ("STORAGE_EMULATOR_HOST",),
}
_UNREACHABLE = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL}
)
_logger = logging.getLogger(__name__)
_logger.setLevel(logging.WARNING)  # the command silences the root logger, on which Beam writes
_answered: set[str] = set()
_unanswered: dict[str, tuple[float, str]] = {}  # when, and the message
_T = TypeVar("_T")


def first_request(location: str, request: Callable[[], _T]) -> _T | None:
    """The result of `request()`, the first one to `location` (such as s3://bucket); None if the storage has answered before.

    ParameterError if it does not answer within SECONDS, or cannot be reached. After three seconds a line says what is waited for.
    Any other error of the request is an answer, and is raised.
    """
    if location in _answered:
        return None
    at, message = _unanswered.get(location, (0.0, ""))
    if message and time.monotonic() - at < _SECONDS_TO_RETRY:
        raise ParameterError(message)
    future = _start(location, request)
    wait([future], min(_SECONDS_TO_NOTICE, SECONDS))
    if not future.done():
        _logger.warning("waiting for %s to answer, for %g seconds at most", _describe(location), SECONDS)
        wait([future], SECONDS - _SECONDS_TO_NOTICE)
    if not future.done():
        message = f"{_describe(location)} has not answered for {SECONDS:g} seconds"
    else:
        error = future.exception()
        if error is None or not _is_unreachable(error):
            _answered.add(location)
            return future.result()
        message = f"{_describe(location)} cannot be reached ({error})"
    message = f"{message}; check its name, its address and the network"
    _unanswered[location] = (time.monotonic(), message)
    raise ParameterError(message)


def forget() -> None:
    """Take every storage for unknown."""
    _answered.clear()
    _unanswered.clear()


def _start(location: str, request: Callable[[], _T]) -> Future[_T]:
    """The result of `request()` in a thread that may go on for minutes, and that nobody waits for when the process ends."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(request())
        except BaseException as error:  # raised by `Future.result`
            future.set_exception(error)

    threading.Thread(target=run, name=f"first request to {location}", daemon=True).start()
    return future


def _describe(location: str) -> str:
    names = _ENDPOINTS.get(location.partition("://")[0], ())
    endpoint = next((f"{name}={os.environ[name]}" for name in names if os.environ.get(name)), "")
    return f"{location} ({endpoint})" if endpoint else location


def _is_unreachable(error: BaseException) -> bool:
    """Whether there is a failure to connect among the causes of an error. Each client has errors of its own around it."""
    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        or (isinstance(cause, OSError) and cause.errno in _UNREACHABLE)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    visited: list[BaseException] = []
    while error is not None and error not in visited:
        visited.append(error)
        yield error
        error = error.__cause__ or error.__context__
