"""The figures of a unit as Beam's own metrics, which every runner shows in its way."""

from __future__ import annotations

from apache_beam.metrics import Metrics as Beam

from tb_deepexplain.recording.work_metrics import Metrics

NAMESPACE = "tb_deepexplain"


def publish(metrics: Metrics) -> None:
    """To be called where an element is processed: Beam then knows which step and worker it was."""
    milliseconds = {
        "milliseconds_in_model": metrics.model_seconds * 1e3,
        "milliseconds_outside": max(0.0, metrics.total_seconds - metrics.model_seconds) * 1e3,
    }
    counts = {
        "examples_explained": metrics.explained,
        "examples_failed": metrics.failures,
        **{f"examples_failed_{stage}": number for stage, number in metrics.failed.items()},
        "evaluations": metrics.evaluations,
        "out_of_memory_retries": metrics.oom_retries,
        **{name: round(number) for name, number in milliseconds.items()},
    }
    for name, number in counts.items():
        Beam.counter(NAMESPACE, name).inc(number)
    sizes = Beam.distribution(NAMESPACE, "batch_size")
    for size, number in metrics.batch_sizes.items():
        for _ in range(number):
            sizes.update(int(size))
    if metrics.total_seconds:
        Beam.distribution(NAMESPACE, "evaluations_per_second").update(
            round(metrics.evaluations / metrics.total_seconds)
        )
