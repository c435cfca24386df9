"""Ranking: attribution methods ordered by the faithfulness of their maps, from the measured values alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.evaluation.measures import Measure
from tb_deepexplain.stats.intervals import group_means, mean_interval
from tb_deepexplain.stats.mean_ranks import RESAMPLINGS, MeanRank, mean_ranks, rank_each

DEFAULT_MEASURES = ("completeness", "sensitivity_n", "deletion", "insertion", "stability")
DEFAULT_BUDGET = 2000  # evaluations per map
_SURE = 0.95  # share of resamplings in which the first method must win
_SIMILAR = 0.5  # similarity to the maps of the randomised model from which the advice warns


@dataclasses.dataclass(frozen=True)
class MeasuredMethod:
    """The measured maps of one method: M values of each measure."""

    id: str
    title: str
    values: Mapping[str, np.ndarray]  # measure → [M], NaN where it is undefined
    chance: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # the same of random maps
    evaluations: float = 0.0  # per map
    seconds: float = 0.0  # per map
    sanity: float | None = None  # similarity to the maps of the randomised model; None: it has no weights


@dataclasses.dataclass(frozen=True)
class MeasureMean:
    """The mean of one measure over the maps of one method; NaN where it is undefined."""

    n: int  # examples
    mean: float
    low: float  # ends of the 95 % interval
    high: float
    chance_level: float  # the mean over random maps
    better_than_chance: bool  # whether the 95 % interval of the paired difference excludes zero


@dataclasses.dataclass(frozen=True)
class RankedMethod:
    """One row of a ranking. The ranks are None if no measure judges faithfulness."""

    id: str
    title: str
    evaluations: float  # per map
    seconds: float  # per map
    sanity: float | None  # similarity of its maps to those of the randomised model
    mean_rank: float | None  # over examples and measures of faithfulness; 1 is the best
    low: float | None  # ends of the 95 % interval of the mean rank
    high: float | None
    best: float | None  # share of resamplings of the examples in which the method ranks first
    measures: Mapping[str, MeasureMean]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Methods in the order of their mean rank, the best first."""

    methods: tuple[RankedMethod, ...]
    measures: tuple[Measure, ...]
    examples: int
    maps: int  # of each method
    left_out: Mapping[str, str]  # method → why it is not compared

    @property
    def ranked_by(self) -> tuple[Measure, ...]:
        """The measures that judge faithfulness; others are shown but do not rank."""
        return tuple(measure for measure in self.measures if measure.judges_faithfulness)

    @property
    def advice(self) -> str:
        """Which method to use, and how sure that is."""
        if not self.ranked_by:
            return "no measure judges faithfulness, so the methods are not ranked; add one, such as deletion."
        first = self.methods[0]
        best, high = first.best or 0.0, first.high or 0.0
        close = [method.id for method in self.methods[1:] if (method.low or 0.0) <= high]
        text = f"{first.id} ranks first, in {best:.0%} of {RESAMPLINGS:,} resamplings of {self.examples} examples"
        if best < _SURE and close:
            text += f"; too few to distinguish it from {_enumerate(close)}"
        by_chance = [m.id for m in self.ranked_by if not first.measures[m.id].better_than_chance]
        if by_chance:
            text += (
                f". By {_enumerate(by_chance)} its maps are not significantly better than random ones: trust them less"
            )
        if first.sanity is not None and first.sanity > _SIMILAR:
            text += (
                f". Its maps change little when the model's weights are randomised (similarity {first.sanity:.2f} of 1): they "
                "show the input as much as the model"
            )
        return f"{text}."

    def table(self) -> str:
        """An aligned text table: one line per method, the best first, and one of the chance levels."""
        arrows = {"higher": "↑", "lower": "↓"}
        titles = [f"{measure.title} {arrows[measure.better]}" for measure in self.measures]
        rows = [["", "method", "mean rank ↓", *titles, "sanity ↓", "evaluations", "ms per map"]]
        for number, method in enumerate(self.methods, 1):
            rank = "" if method.mean_rank is None else f"{method.mean_rank:.2f} ({method.low:.2f}–{method.high:.2f})"
            means = [_decimals(method.measures[measure.id].mean) for measure in self.measures]
            sanity = "" if method.sanity is None else f"{method.sanity:.2f}"
            cost = [f"{method.evaluations:,.0f}", f"{method.seconds * 1e3:,.1f}"]
            rows.append([str(number) if self.ranked_by else "", method.id, rank, *means, sanity, *cost])
        first = self.methods[0].measures
        chance = [_decimals(first[measure.id].chance_level) for measure in self.measures]
        rows.append(["", "random maps", "", *chance, "", "", ""])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(_line(row, widths) for row in rows)

    def __str__(self) -> str:
        left_out = "".join(f"\nleft out  {name}: {reason}" for name, reason in self.left_out.items())
        return f"{self.table()}\n\nadvice    {self.advice}{left_out}"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Show the text in IPython and in notebooks."""
        printer.text(str(self))

    def to_dict(self) -> dict[str, Any]:
        """The ranking as JSON, as in evaluation.json. The means of the measures are not in it: they stand in the store."""
        methods = [{k: v for k, v in vars(method).items() if k != "measures"} for method in self.methods]
        return {
            "examples": self.examples,
            "maps": self.maps,
            "ranked_by": [measure.id for measure in self.ranked_by],
            "methods": methods,
            "left_out": dict(self.left_out),
            "advice": self.advice,
        }


def rank_methods(
    measured: Sequence[MeasuredMethod],
    measures: Sequence[Measure],
    example_ids: Sequence[Any],
    *,
    left_out: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Ranking:
    """Order methods by their mean rank over examples and measures of faithfulness.

    `example_ids` `[M]` names the example of each map. The maps of one example, for several targets, are alike: its mean counts
    once, and the intervals come from resampling examples. Ties keep the order of `measured`, as do methods that no measure ranks.
    """
    judges = [measure for measure in measures if measure.judges_faithfulness]
    ranks: list[MeanRank | None] = [None] * len(measured)
    if judges:
        of_maps = [rank_each(np.stack([m.values[judge.id] for m in measured]), judge.better) for judge in judges]
        ranks = [*mean_ranks(group_means(np.mean(of_maps, 0).T, example_ids).T, seed)]
    methods = [
        RankedMethod(
            id=method.id,
            title=method.title,
            evaluations=method.evaluations,
            seconds=method.seconds,
            sanity=method.sanity,
            mean_rank=rank and rank.mean,
            low=rank and rank.low,
            high=rank and rank.high,
            best=rank and rank.first,
            measures={measure.id: _mean(method, measure, example_ids) for measure in measures},
        )
        for method, rank in zip(measured, ranks, strict=True)
    ]
    return Ranking(
        methods=tuple(sorted(methods, key=lambda method: method.mean_rank or 0.0)),
        measures=tuple(measures),
        examples=len(set(example_ids)),
        maps=len(example_ids),
        left_out=dict(left_out or {}),
    )


def _mean(method: MeasuredMethod, measure: Measure, example_ids: Sequence[Any]) -> MeasureMean:
    values = method.values[measure.id]
    chance = method.chance.get(measure.id, np.full(len(values), np.nan))
    sign = 1 if measure.better == "higher" else -1
    value, level, gain = (
        mean_interval(group_means(v, example_ids)) for v in (values, chance, (values - chance) * sign)
    )
    return MeasureMean(
        n=int(value.count),
        mean=float(value.mean),
        low=float(value.low),
        high=float(value.high),
        chance_level=float(level.mean),
        better_than_chance=bool(gain.low > 0),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells in columns of these widths: the first two to the left, the numbers to the right."""
    columns = [
        f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}"
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(columns).rstrip()


def _decimals(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else ""


def _enumerate(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
