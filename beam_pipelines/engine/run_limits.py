"""The limits that end a run early."""

from __future__ import annotations

import dataclasses

from tb_deepexplain.errors import StoreError

LEAST_EXAMPLES = 100  # finished, before their error rate can end a run
ADVICE = "finished units are kept: the same command with --resume continues"


@dataclasses.dataclass(frozen=True)
class RunLimits:
    """When a run is ended."""

    error_rate: float  # largest share of the examples that may fail
    stall_timeout: float  # seconds without a map from any worker

    def check_error_rate(self, examples: float, failed: int, reason: str, least: int = LEAST_EXAMPLES) -> None:
        """Raise StoreError if too many of the finished examples failed. Fewer than `least` examples are not judged."""
        if examples >= least and failed > self.error_rate * examples:
            example = f" (one of them: {reason})" if reason else ""
            raise StoreError(
                f"{failed} of {examples:.0f} examples failed, more than --max_error_rate {self.error_rate:g} allows"
                f"{example}; {ADVICE}, with a larger --max_error_rate if necessary"
            )
