"""The measures of a batch's maps, and of random maps of the same examples, as columns of the store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.results import Result
from tb_deepexplain.attribution.targets import Explained
from tb_deepexplain.evaluation.evaluator import Evaluator, Report
from tb_deepexplain.evaluation.measured import Measured
from tb_deepexplain.evaluation.superpixels import superpixels
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.full_batches import Work
from tb_deepexplain.recording.request import Request
from tb_deepexplain.stats.intervals import finite_or_none


class MapMeasures:
    """Measures the maps of a batch for one choice of targets. Random maps do not depend on the method: they are measured once."""

    def __init__(
        self,
        request: Request,
        examples: Sequence[Example],
        inputs: Inputs,
        explained: Explained,  # of the whole batch
        batch_size: int | None,
        pictures: int = 0,
    ) -> None:
        """`pictures`: the number of the input that has the pictures to divide into superpixels, if the request has some."""
        measured = [i for i, e in enumerate(examples) if request.measures and _uniform(e.id) < request.measured]
        self._rows = np.array(measured, np.int64)
        self._inputs = inputs.take(self._rows)
        segments = None
        if request.superpixels and measured:
            segments = superpixels(self._inputs.arrays[pictures], request.superpixels)
        self._arguments: dict[str, Any] = {
            "target": explained.take(self._rows),
            "batch_size": batch_size,
            "segments": segments,
        }
        # By the parameters of the measures: methods may have different baselines, which are parameters of measures, too.
        self._of_random_maps: dict[str, dict[str, Measured]] = {}
        self.work: list[Work] = []  # of each measure of each method

    def columns(self, evaluator: Evaluator, result: Result, report: Report) -> dict[int, dict[str, Any]]:
        """The columns of the measures for each measured example, by its position in the batch.

        `report` is called after each measure with the share of the work that this was.
        """
        if not len(self._rows):
            report(1)
            return {}
        random = self._of_random_maps.get(evaluator.parameters_digest)
        if random is None:
            random = self._of_random_maps[evaluator.parameters_digest] = evaluator.chance(
                self._inputs, report=lambda _: report(0), **self._arguments
            )
            self._count(random, evaluator)
        attributions = {name: np.asarray(values)[self._rows] for name, values in result.attributions.items()}
        selected = dataclasses.replace(result, attributions=attributions)
        of_maps = evaluator.run(self._inputs, selected, known=random, report=report, **self._arguments)
        self._count(of_maps, evaluator)
        columns: dict[int, dict[str, Any]] = {}
        for k, position in enumerate(self._rows):
            row = columns.setdefault(int(position), {})
            for name, measured in of_maps.items():
                row |= _columns(name, "", measured, k)
                if name in random:
                    row |= _columns(name, "_random", random[name], k)
        return columns

    def _count(self, measured_by_name: dict[str, Measured], evaluator: Evaluator) -> None:
        for measure in evaluator.measures:
            if measure.id in measured_by_name:
                evaluations = int(measured_by_name[measure.id].evaluations.sum())
                self.work.append(Work.of(evaluator.explainer, evaluations, explains=measure.needs == "method"))


def _columns(name: str, suffix: str, measured: Measured, k: int) -> dict[str, Any]:
    """The columns of `records.measure_fields` and `records.curve_fields` for the k-th map."""
    columns: dict[str, Any] = {f"{name}{suffix}": finite_or_none(measured.value[k])}
    if measured.curve is not None:
        columns[f"{name}{suffix}_curve"], columns[f"{name}_at"] = measured.curve[k], measured.at[k]
    return columns


def _uniform(example_id: str) -> float:
    """A number in [0, 1) that depends on the id alone, so that the same examples are measured in every run."""
    return int.from_bytes(hashlib.blake2b(example_id.encode(), digest_size=4).digest(), "little") / 2**32
