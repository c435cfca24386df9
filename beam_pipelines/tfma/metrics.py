"""Attribution metrics for TFMA: measures of faithfulness, and drift. In an EvalConfig:

    metrics {
      class_name: "AttributionDrift"
      module: "beam_pipelines.tfma.metrics"
      threshold { change_threshold { direction: LOWER_IS_BETTER absolute { value: 0.3 } } }
    }

They read the extracts of `beam_pipelines.tfma.extractor`, and are sliced like TFMA's own metrics.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

try:
    from tensorflow_model_analysis.metrics import metric_types
except ImportError as error:
    raise ImportError(
        f"beam_pipelines.tfma.metrics needs TFMA 0.52 ({error}): pip install 'tensorboard-plugin-deepexplain[tfma]'"
    ) from error

from beam_pipelines.tfma.drift import RESAMPLINGS
from beam_pipelines.tfma.drift_metric import drift_computations
from beam_pipelines.tfma.measure_metric import measure_computations
from beam_pipelines.tfma.metric_scope import with_scopes
from beam_pipelines.tfma.pooling import REGIONS
from tb_deepexplain.evaluation.measures import find_measure

MODULE = "beam_pipelines.tfma.metrics"  # this module, as an EvalConfig names it


class AttributionMeasure(metric_types.Metric):
    """Mean of a measure of `tb_deepexplain.evaluation.measures` over the examples of a slice.

    Examples for which the measure is undefined are left out; the mean is NaN if none is left. If all classes are
    explained, the map of the predicted class is measured.
    """

    def __init__(
        self, measure: str = "deletion", parameters: Mapping[str, Any] | None = None, name: str | None = None
    ) -> None:
        self.measure, self.parameters = find_measure(measure).id, find_measure(measure).check(dict(parameters or {}))
        name = name or f"attribution_{self.measure}"
        super().__init__(with_scopes(functools.partial(measure_computations, self.measure, name)), name=name)

    def get_config(self) -> dict[str, Any]:
        return {"measure": self.measure, "parameters": self.parameters, "name": self.name}


class CompletenessGap(AttributionMeasure):
    """Mean of `completeness`: |Σ attributions − (f(x) − f(x′))| as a share of |f(x) − f(x′)|."""

    def __init__(self, parameters: Mapping[str, Any] | None = None, name: str | None = None) -> None:
        super().__init__("completeness", parameters, name or "attribution_completeness_gap")


class DeletionAUC(AttributionMeasure):
    """Mean of `deletion`: the area under the prediction while features are removed, the most important first."""

    def __init__(self, parameters: Mapping[str, Any] | None = None, name: str | None = None) -> None:
        super().__init__("deletion", parameters, name or "attribution_deletion_auc")


class SensitivityN(AttributionMeasure):
    """Mean of `sensitivity_n`: the correlation of the attributions of n features with what the score loses without them."""

    def __init__(self, parameters: Mapping[str, Any] | None = None, name: str | None = None) -> None:
        super().__init__("sensitivity_n", parameters, name or "attribution_sensitivity_n")


class AttributionDrift(metric_types.Metric):
    """How much the candidate's attributions differ from the baseline model's, or from those of a store (see `drift.py`).

    Without `reference` it is a difference between models, for a `change_threshold` (LOWER_IS_BETTER, absolute). Without
    a baseline model it is not computed, and TFMA skips the threshold. With `reference`, the directory of a store, it is
    a value, for a `value_threshold`, and every slice is compared with the whole store. The store may be that of an
    earlier span, as AttributionGen wrote it; `method` chooses among several methods. It must have been explained as
    AttributionsExtractor explains, with the same parameters, baseline, target and pooling; or the extractor refuses it.

    Further metrics are `attribution_drift_low` and `attribution_drift_high`, the bounds of the 95 % interval, for
    `MetricsSpec.thresholds`. A threshold on `low` rejects a model only if the drift is certainly larger; one on `high`
    rejects it unless the drift is certainly smaller. `attribution_drift_by_feature`, among the attributions, is
    [change of the share, low, high] for each feature. `resamplings`: of the bootstrap.
    """

    def __init__(
        self,
        reference: str | None = None,
        method: str | None = None,
        pool: str | None = None,
        regions: int = REGIONS,
        resamplings: int = RESAMPLINGS,
        seed: int = 0,
        name: str = "attribution_drift",
    ) -> None:
        self._config = {
            "reference": reference,
            "method": method,
            "pool": pool,
            "regions": regions,
            "resamplings": resamplings,
            "seed": seed,
        }
        super().__init__(with_scopes(functools.partial(drift_computations, self._config, name)), name=name)

    def get_config(self) -> dict[str, Any]:
        return {**self._config, "name": self.name}


class AttributionOptions(metric_types.Metric):
    """No metric: its config passes options to AttributionsExtractor. TFX's Evaluator has no other way to pass them."""

    def __init__(self, name: str = "attribution_options", **options: Any) -> None:
        self._options = options
        super().__init__(with_scopes(lambda _: []), name=name)

    def get_config(self) -> dict[str, Any]:
        return {**self._options, "name": self.name}


for _metric in (AttributionMeasure, CompletenessGap, DeletionAUC, SensitivityN, AttributionDrift, AttributionOptions):
    metric_types.register_metric(_metric)

__all__ = [
    "AttributionDrift",
    "AttributionMeasure",
    "AttributionOptions",
    "CompletenessGap",
    "DeletionAUC",
    "SensitivityN",
]
