"""The request: what is explained and how. Small, so that every worker gets a copy."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from tb_deepexplain.attribution.methods import check_methods
from tb_deepexplain.evaluation.measures import check_measures
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.registry.table import Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is explained and how. `make_request` makes one from what a user writes."""

    model: str
    methods: tuple[tuple[str, dict[str, Any]], ...]  # ids with the parameters that are not the default
    target: Target
    labels: tuple[str, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    batch_size: int | None = None
    step: int = 0
    gpus: int | None = None  # for each process; None: one, or all for a process that is alone on its machine
    alone: bool = False
    mixed_precision: bool = False
    measures: tuple[tuple[str, dict[str, Any]], ...] = ()  # ids with the parameters that are not the default
    measured: float = 1.0  # share of the examples whose maps are measured
    superpixels: int | None = None  # of a picture, which measures remove; None: single pixels
    signature: str | None = None  # of a SavedModel
    output: str | None = None  # of a model with several


def make_request(
    model: str | os.PathLike[str],
    methods: Selection,
    *,
    target: Target | str | int = "predicted",
    measures: Selection = (),
    labels: Sequence[str] | None = None,
    vocabulary: Sequence[str] | None = None,
    **options: Any,
) -> Request:
    """A checked request; `options` are further fields of Request.

    `methods`: at least one id, or a dict of ids and parameters; `measures` likewise, perhaps none. Raises UnknownMethodError or
    ParameterError for a method, measure, parameter or target that does not exist.
    """
    return Request(
        model=str(model),
        methods=tuple(check_methods(methods).items()),
        target=target if isinstance(target, Target) else Target.parse(str(target)),
        measures=tuple(check_measures(measures).items()),
        labels=None if labels is None else tuple(labels),
        vocabulary=None if vocabulary is None else tuple(vocabulary),
        **options,
    )
