"""Metrics of a batch or work unit as Beam metrics, which runners display."""

from __future__ import annotations

from apache_beam.metrics import Metrics as BeamMetrics

from tb_deepexplain.recording.work_metrics import Metrics

NAMESPACE = "tb_deepexplain"


def update_counters(metrics: Metrics) -> None:
    """Add the metrics to Beam's. Call it within DoFn.process, so that Beam knows the step and the worker."""
    milliseconds = {
        "milliseconds_in_model": metrics.model_seconds * 1e3,
        "milliseconds_outside": max(0.0, metrics.total_seconds - metrics.model_seconds) * 1e3,
    }
    counts = {
        "examples_explained": metrics.explained,
        "examples_skipped": metrics.skipped,
        "examples_failed": metrics.failures,
        **{f"examples_failed_{stage}": count for stage, count in metrics.failed.items()},
        "evaluations": metrics.evaluations,
        "out_of_memory_retries": metrics.oom_retries,
        **{name: round(value) for name, value in milliseconds.items()},
    }
    for name, count in counts.items():
        BeamMetrics.counter(NAMESPACE, name).inc(count)
    sizes = BeamMetrics.distribution(NAMESPACE, "batch_size")
    for size, count in metrics.batch_sizes.items():
        for _ in range(count):
            sizes.update(int(size))
    if metrics.total_seconds:
        BeamMetrics.distribution(NAMESPACE, "evaluations_per_second").update(
            round(metrics.evaluations / metrics.total_seconds)
        )
