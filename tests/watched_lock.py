"""A lock that says when a thread waits for it."""

from __future__ import annotations

import threading


class WatchedLock:
    """In place of a lock. `arrived` is set as soon as another thread than the one that made it requests it."""

    def __init__(self) -> None:
        self.arrived, self._maker, self._lock = threading.Event(), threading.current_thread(), threading.RLock()

    def __enter__(self) -> None:
        if threading.current_thread() is not self._maker:
            self.arrived.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
