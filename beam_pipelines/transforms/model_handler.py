"""AttributionModelHandler: attributions by Beam's RunInference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from beam_pipelines.engine.device_pool import DevicePool, explainer_pool
from beam_pipelines.transforms.attribute import Attribute
from beam_pipelines.transforms.elements import ElementParser
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example


class AttributionModelHandler(ModelHandler[Any, PredictionResult, DevicePool[BatchExplainer]]):
    """Explains for Beam's RunInference as `Attribute` does: PredictionResult(element, Explained or Failure).

    RunInference would give up a whole batch for one failed example, so this handler returns an answer for each element.
    Prefer `Attribute`, which also keeps windows apart, where you can choose.
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
        return explainer_pool(self._request)

    def run_inference(
        self, batch: Sequence[Any], model: DevicePool[BatchExplainer], inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """One result for each element, in order."""
        if inference_args:
            raise ParameterError(f"inference_args={dict(inference_args)}: expected none; pass options to Attribute")
        with model.least_busy() as explainer:
            parser = ElementParser(explainer, self._record_spec)
            parsed = [parser.parse(element) for element in batch]
            outcomes = iter(explainer.explain_each([one.example for one in parsed if isinstance(one.example, Example)]))
        for element, one in zip(batch, parsed, strict=True):
            outcome = next(outcomes) if isinstance(one.example, Example) else one.example
            yield PredictionResult(element, one.output(outcome))
