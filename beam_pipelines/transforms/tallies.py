"""Counts of elements, which end a run of a pipeline that explains too few of them, or reads none of the features named; and what the
manifest says of its precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam

from beam_pipelines.engine.run_limits import LEAST_EXAMPLES
from tb_deepexplain.attribution.precision_error import PrecisionError
from tb_deepexplain.errors import InputError, ParameterError, StoreError

DEFAULT_ERROR_RATE = 0.5


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts of the elements of a bundle, or of several."""

    elements: int = 0
    failed: int = 0
    failure: str = ""  # message of one of them
    unread: frozenset[str] = frozenset()  # named features that none of the elements has
    without_tf32: int = 0  # as in Metrics
    # By the id of a BatchExplainer and by method: the errors of the precision that it knew after the last of the elements.
    precision_errors: Mapping[str, Mapping[str, PrecisionError]] = dataclasses.field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        if not self.elements or not other.elements:
            return self if self.elements else other
        return Tally(
            self.elements + other.elements,
            self.failed + other.failed,
            self.failure or other.failure,
            self.unread & other.unread,
            self.without_tf32 + other.without_tf32,
            {
                explainer: max((tally.precision_errors.get(explainer, {}) for tally in (self, other)), key=_sample_size)
                for explainer in self.precision_errors.keys() | other.precision_errors.keys()
            },
        )

    def describe_precision(self) -> dict[str, Any]:
        """The differences to maps in float32 as the manifest holds them, by method."""
        errors: dict[str, PrecisionError] = {}
        for of_explainer in self.precision_errors.values():
            for method, error in of_explainer.items():
                errors[method] = errors.get(method, PrecisionError()) + error
        return {method: error.as_json() for method, error in errors.items()}


@dataclasses.dataclass(frozen=True)
class RunCheck:
    """Conditions that end a run. `max_error_rate`: None for the default, which judges no run of few elements unless all of them failed."""

    max_error_rate: float | None
    named_features: dict[str, str]  # with the options that name them

    def __post_init__(self) -> None:
        if self.max_error_rate is not None and not 0 <= self.max_error_rate <= 1:
            raise ParameterError(f"max_error_rate={self.max_error_rate}: expected a share between 0 and 1")

    def check_some(self, tally: Tally) -> None:
        """For a worker, as soon as it has seen enough elements: StoreError if too many of them failed."""
        if tally.elements >= LEAST_EXAMPLES:
            self._check_errors(tally)

    def check_all(self, tally: Tally) -> None:
        """For a whole run. StoreError if too many elements failed, InputError if none has a feature that was named."""
        all_failed = tally.failed == tally.elements and self.max_error_rate != 1
        if tally.elements and (all_failed or self.max_error_rate is not None or tally.elements >= LEAST_EXAMPLES):
            self._check_errors(tally)
        self._check_features(tally)

    def _check_errors(self, tally: Tally) -> None:
        rate = DEFAULT_ERROR_RATE if self.max_error_rate is None else self.max_error_rate
        if tally.failed > rate * tally.elements:
            raise StoreError(
                f"{tally.failed} of {tally.elements} examples failed, more than max_error_rate={rate:g} allows; one of "
                f"them: {tally.failure}"
            )

    def _check_features(self, tally: Tally) -> None:
        for feature in sorted(tally.unread):
            raise InputError(
                f"{self.named_features[feature]}: none of the {tally.elements} elements has this feature; correct the name, or leave it out"
            )


class CheckRun(beam.PTransform):
    """Tallies of all bundles → their sum, or an error that ends the pipeline."""

    def __init__(self, check: RunCheck) -> None:
        super().__init__()
        self._check = check

    def expand(self, tallies: beam.PCollection[Tally]) -> beam.PCollection[Tally]:
        total = (
            tallies
            | "GlobalWindow" >> beam.WindowInto(beam.window.GlobalWindows())
            | "Add" >> beam.CombineGlobally(_sum).without_defaults()
        )
        return total | "Check" >> beam.ParDo(_Check(self._check))


def _sample_size(errors: Mapping[str, PrecisionError]) -> int:
    return sum(error.examples for error in errors.values())


def _sum(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, Tally())


class _Check(beam.DoFn):
    def __init__(self, check: RunCheck) -> None:
        self._check = check

    def process(self, tally: Tally) -> Iterator[Tally]:
        self._check.check_all(tally)
        yield tally
