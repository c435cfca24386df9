"""What our TFMA metrics have in common: which model, output and class a value is for, and how it is read from extracts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.utils import util

from tb_deepexplain.errors import InputError

ATTRIBUTIONS_KEY = constants.ATTRIBUTIONS_KEY  # key of the extracts that TFMA's attribution metrics read
MEASURES_KEY = "attribution_measures"  # key of the extracts for measures


class MetricScope(NamedTuple):
    """The model, output and class of a metric; and whether examples are weighted."""

    config: Any
    model: str
    output: str
    sub_key: Any
    weighted: bool | None

    def key(self, name: str, key_type: Any = metric_types.MetricKey, is_diff: bool = False) -> Any:
        """TFMA's key for the metric of this name."""
        return key_type(
            name, self.model, self.output, sub_key=self.sub_key, example_weighted=self.weighted, is_diff=is_diff
        )

    def select(self, extracts: Mapping[str, Any], key: str, model: str | None = None) -> Mapping[str, Any]:
        """The part of `extracts[key]` for this model (or `model`) and output; InputError if the key is missing."""
        if key not in extracts:
            raise InputError(
                f"the extracts have no {key!r}: AttributionsExtractor has to be among the extractors (with_attributions), "
                "and has to compute the measures of the metrics"
            )
        names = [self.model if model is None else model, self.output]
        levels = [name for name in names if name]  # TFMA leaves out a level with a single entry
        return util.get_by_keys(extracts[key], levels) if levels else extracts[key]

    def weight(self, extracts: Mapping[str, Any]) -> float:
        """The weight of the example."""
        if not self.weighted:
            return 1.0
        _, _, weight = next(
            metric_util.to_label_prediction_example_weight(
                extracts, self.config, self.model, self.output, example_weighted=True, flatten=False, allow_none=True
            )
        )
        return float(np.asarray(weight).item())


def with_scopes(create: Callable[[list[MetricScope]], list[Any]]) -> Callable[..., list[Any]]:
    """`create` as a function that TFMA calls. TFMA passes the arguments whose names it finds in the signature."""

    def create_computations(
        eval_config: Any = None,
        model_names: list[str] | None = None,
        output_names: list[str] | None = None,
        sub_keys: list[Any] | None = None,
        example_weighted: bool = False,
        **_: Any,
    ) -> list[Any]:
        combinations = itertools.product(model_names or [""], output_names or [""], sub_keys or [None])
        return create([MetricScope(eval_config, *combination, example_weighted) for combination in combinations])

    return create_computations


class AttributionExtracts(metric_types.Preprocessor):
    """Extracts of an example → the entries that our combiners read."""

    def __init__(self) -> None:
        super().__init__(name="tb_deepexplain_attributions")

    def process(self, extracts: Mapping[str, Any]) -> Iterator[Any]:
        keys = (
            ATTRIBUTIONS_KEY,
            MEASURES_KEY,
            constants.EXAMPLE_WEIGHTS_KEY,
            constants.LABELS_KEY,
            constants.PREDICTIONS_KEY,
        )
        yield metric_types.StandardMetricInputs({key: extracts[key] for key in keys if key in extracts})
