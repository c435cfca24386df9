"""How many examples are explained at once."""

from __future__ import annotations

FIRST, MOST = 16, 256  # where no batch size is asked for
SECONDS = 0.5  # that a batch may take: progress is seen, and a stop heard


class BatchSize:
    """Examples in the next batch: more with every full one, as long as they take little time."""

    def __init__(self, asked: int | None) -> None:
        self.now, self._grows = asked or FIRST, asked is None

    def took(self, examples: int, seconds: float) -> None:
        """A batch of so many examples took so long."""
        if self._grows and examples == self.now and not SECONDS / 3 < seconds < 2 * SECONDS:
            self.now = min(2 * self.now, MOST) if seconds < SECONDS else max(self.now // 2, 1)
