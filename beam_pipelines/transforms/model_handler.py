"""AttributionModelHandler: attributions by Beam's RunInference."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from beam_pipelines.engine.beam_counters import update_counters
from beam_pipelines.transforms.attribute import Attribute
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.store.records import Failure

if TYPE_CHECKING:  # these import TensorFlow, which a pipeline can be built without
    from beam_pipelines.engine.device_pool import DevicePool
    from tb_deepexplain.recording.batch_explainer import BatchExplainer


class AttributionModelHandler(ModelHandler[Any, PredictionResult, "DevicePool[BatchExplainer]"]):
    """Explains for Beam's RunInference as `Attribute` does: PredictionResult(element, Explained or Failure).

    RunInference would give up a whole batch for one failed example, so this handler returns an answer for each element.
    It publishes the same counters. Prefer `Attribute`, which also keeps windows apart, where you can choose.
    """

    def __init__(self, attribute: Attribute) -> None:
        """ParameterError for an `attribute` with `only`."""
        if attribute.request.only is not None:
            raise ParameterError(
                f"only={attribute.request.only!r}: RunInference expects an answer for every element; use Attribute itself, "
                "or leave it out"
            )
        super().__init__(max_batch_size=attribute.request.batch_size)
        self._request, self._record_spec = attribute.request, attribute.record_spec

    def load_model(self) -> DevicePool[BatchExplainer]:
        from beam_pipelines.transforms.request_check import checked_pool

        return checked_pool(self._request, self._record_spec)

    def run_inference(
        self, batch: Sequence[Any], model: DevicePool[BatchExplainer], inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """One result for each element, in order."""
        if inference_args:
            raise ParameterError(f"inference_args={dict(inference_args)}: expected none; pass options to Attribute")
        from beam_pipelines.transforms.element_parser import ElementParser

        started, metrics = time.perf_counter(), Metrics()
        with model.least_busy() as explainer:
            parser = ElementParser(explainer, self._record_spec)
            parsed = [parser.parse(element) for element in batch]
            examples = [one.example for one in parsed if isinstance(one.example, Example)]
            explained = iter(explainer.explain_each(examples, metrics=metrics))
        outcomes = [next(explained) if isinstance(one.example, Example) else one.example for one in parsed]
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                metrics.fail(outcome.stage)
        metrics.explained = len(outcomes) - metrics.failures
        metrics.total_seconds = time.perf_counter() - started
        update_counters(metrics)
        return [
            PredictionResult(element, one.output(outcome))
            for element, one, outcome in zip(batch, parsed, outcomes, strict=True)
        ]
