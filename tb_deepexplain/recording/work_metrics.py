"""Counts and run times of explaining: plain numbers that processes send and add up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tb_deepexplain.attribution.precision_error import PrecisionError


@dataclasses.dataclass
class Metrics:
    """The metrics of one work unit, or the sum over several."""

    explained: int = 0  # examples
    skipped: int = 0  # examples that do not meet the condition of the request
    failed: dict[str, int] = dataclasses.field(default_factory=dict)  # examples, by stage
    evaluations: int = 0  # of the model, for maps and measures
    oom_retries: int = 0
    # By method, for some examples: difference to the map in float32, as a share of its largest value, and rank correlation.
    precision_errors: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)
    without_tf32: int = 0  # examples for which TF32 was requested on a CPU, where it changes nothing
    batch_sizes: dict[str, int] = dataclasses.field(default_factory=dict)  # examples in a batch → batches
    # By method: evaluations at once → batches.
    evaluation_batches: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    batches_with_xla: dict[str, int] = dataclasses.field(default_factory=dict)  # by method
    model_seconds: float = 0.0  # in the model: predictions, maps and measures
    total_seconds: float = 0.0

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def fail(self, stage: str) -> None:
        self.failed[stage] = self.failed.get(stage, 0) + 1

    def batch(self, examples: int, evaluations: int, seconds: float) -> None:
        """Count an explained batch."""
        self.batch_sizes[str(examples)] = self.batch_sizes.get(str(examples), 0) + 1
        self.evaluations += evaluations
        self.model_seconds += seconds

    def describe_precision(self) -> dict[str, Any]:
        """The differences to maps in float32 as the manifest holds them, by method."""
        return {
            method: PrecisionError([each[0] for each in errors], [each[1] for each in errors]).as_json()
            for method, errors in self.precision_errors.items()
        }

    def batches_of(self, method: str, batches: Mapping[int, int], with_xla: int, halvings: int) -> None:
        """Count batches of a method, by evaluations at once."""
        counts = self.evaluation_batches.setdefault(method, {})
        for size, number in batches.items():
            counts[str(size)] = counts.get(str(size), 0) + number
        if with_xla:
            self.batches_with_xla[method] = self.batches_with_xla.get(method, 0) + with_xla
        self.oom_retries += halvings

    def __add__(self, other: Metrics) -> Metrics:
        return Metrics(
            **{f.name: _add(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self)}
        )

    def encode(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def decode(text: str | bytes) -> Metrics:
        known = {field.name for field in dataclasses.fields(Metrics)}
        return Metrics(**{name: value for name, value in json.loads(text).items() if name in known})

    def describe(self) -> Mapping[str, Any]:
        """The metrics as the manifest holds them."""
        seconds = self.total_seconds or float("inf")
        batches = sum(self.batch_sizes.values())
        explained = sum(int(size) * number for size, number in self.batch_sizes.items())
        return {
            "examples": self.explained,
            "skipped": self.skipped,
            "errors": dict(self.failed),
            "evaluations": self.evaluations,
            "evaluations_per_second": round(self.evaluations / seconds, 1),  # of one process
            "seconds_in_model": round(self.model_seconds, 2),
            "seconds_outside": round(max(0.0, self.total_seconds - self.model_seconds), 2),
            "batches": batches,
            "examples_in_a_batch": round(explained / batches, 2) if batches else 0.0,
            "evaluations_at_once": {
                name: _most_evaluations(sizes) for name, sizes in self.evaluation_batches.items() if sizes
            },
            "batches_with_xla": dict(self.batches_with_xla),
            "out_of_memory_retries": self.oom_retries,
            "examples_without_tf32": self.without_tf32,
        }


def _add(one: Any, other: Any) -> Any:
    if not isinstance(one, dict):
        return one + other
    return {
        key: _add(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
        for key in sorted(one.keys() | other.keys())
    }


def _most_evaluations(batches: Mapping[str, int]) -> int:
    """The size of the batches that did most of the work."""
    return max(map(int, batches), key=lambda size: size * batches[str(size)])
