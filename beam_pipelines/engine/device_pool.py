"""The explainers of a process: one for each of its devices."""

from __future__ import annotations

from beam_pipelines.engine import devices
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Request


def explainers(request: Request) -> devices.Pool[BatchExplainer]:
    """One for each device of this process."""
    return devices.Pool(start(request), lambda: BatchExplainer(request))


def start(request: Request) -> tuple[str, ...]:
    """This process's devices, made ready."""
    names = devices.take(request.gpus, request.alone)
    if request.mixed_precision:
        devices.mix_precision()
    return names
