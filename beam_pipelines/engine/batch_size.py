"""How many examples are explained at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imports TensorFlow
    from tb_deepexplain.recording.batch_explainer import BatchExplainer
    from tb_deepexplain.recording.example import Example

FIRST, LARGEST = 16, 256  # examples in a batch, if no batch size is configured
SECONDS = 0.5  # aimed at for a batch: progress is reported and a stop noticed after each
LARGEST_BYTES = 1 << 28  # of the examples that fill a batch of evaluations


class BatchSize:
    """The number of examples in the next batch. Unless it is fixed, it grows with full batches that take little time.

    It is never less than fills a batch of evaluations, however long that takes, and may be twice that, so that the explainer can try
    larger batches of evaluations.
    """

    def __init__(self, fixed: int | None) -> None:
        self.current, self._adapts = fixed or FIRST, fixed is None

    def record(self, examples: int, seconds: float, to_fill: int = 1) -> None:
        """Adapt to the duration of a batch. `to_fill`: the examples that fill a batch of evaluations."""
        if not self._adapts:
            return
        if examples == self.current and not SECONDS / 3 < seconds < 2 * SECONDS:
            self.current = 2 * self.current if seconds < SECONDS else self.current // 2
        self.current = max(1, to_fill, min(self.current, max(LARGEST, 2 * to_fill)))


def examples_to_fill(explainer: BatchExplainer, examples: Sequence[Example]) -> int:
    """How many such examples fill a batch of evaluations, as far as they fit into memory."""
    return min(explainer.examples_to_fill, max(1, LARGEST_BYTES // max(1, max(e.nbytes for e in examples))))
