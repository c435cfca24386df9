"""How many examples are explained at once."""

from __future__ import annotations

FIRST, LARGEST = 16, 256  # examples in a batch, if no batch size is configured
SECONDS = 0.5  # aimed at for a batch: progress is reported and a stop noticed after each


class BatchSize:
    """The number of examples in the next batch. Unless it is fixed, it grows with full batches that take little time."""

    def __init__(self, fixed: int | None) -> None:
        self.current, self._adapts = fixed or FIRST, fixed is None

    def record(self, examples: int, seconds: float) -> None:
        """Adapt to the duration of a batch."""
        if self._adapts and examples == self.current and not SECONDS / 3 < seconds < 2 * SECONDS:
            self.current = min(2 * self.current, LARGEST) if seconds < SECONDS else max(self.current // 2, 1)
