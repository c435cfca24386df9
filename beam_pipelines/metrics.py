"""What the work cost and what came of it: plain numbers that any process can add up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass
class Metrics:
    """Of one unit of work, or of many."""

    explained: int = 0  # examples
    failed: dict[str, int] = dataclasses.field(default_factory=dict)  # examples, by stage
    evaluations: int = 0  # of the model, in maps
    oom_retries: int = 0
    batches: int = 0
    batch_examples: int = 0
    model_seconds: float = 0.0  # wherever the model ran: predictions and maps
    total_seconds: float = 0.0

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def fail(self, stage: str) -> None:
        self.failed[stage] = self.failed.get(stage, 0) + 1

    def __add__(self, other: Metrics) -> Metrics:
        stages = sorted(self.failed.keys() | other.failed.keys())
        added = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
            if field.name != "failed"
        }
        return Metrics(**added, failed={s: self.failed.get(s, 0) + other.failed.get(s, 0) for s in stages})

    def encode(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def decode(text: str | bytes) -> Metrics:
        known = {field.name for field in dataclasses.fields(Metrics)}
        return Metrics(**{name: value for name, value in json.loads(text).items() if name in known})

    def described(self) -> Mapping[str, Any]:
        """As the manifest holds them."""
        seconds = self.total_seconds or float("inf")
        return {
            "examples": self.explained,
            "errors": dict(self.failed),
            "evaluations": self.evaluations,
            "evaluations_per_second": round(self.evaluations / seconds, 1),  # of one process
            "seconds_in_model": round(self.model_seconds, 2),
            "seconds_outside": round(max(0.0, self.total_seconds - self.model_seconds), 2),
            "batches": self.batches,
            "examples_in_a_batch": round(self.batch_examples / self.batches, 2) if self.batches else 0.0,
            "out_of_memory_retries": self.oom_retries,
        }
