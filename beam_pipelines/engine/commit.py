"""The end of a run: its shards become a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beam_pipelines.engine.unit_worker import METRICS_NOTE
from tb_deepexplain.errors import InputError
from tb_deepexplain.recording.work_metrics import Metrics
from tb_deepexplain.storage import map_files
from tb_deepexplain.store import configuration, failures
from tb_deepexplain.store.writer import StoreWriter


def commit_units(directory: Path, units: Sequence[str], manifest: dict[str, Any], retried: int) -> None:
    """Write index and manifest. `retried`: units that were repeated after a worker died.

    InputError, and the store is removed, if every example failed or was skipped.
    """
    writer = StoreWriter(directory, measures=[measure["id"] for measure in manifest["measures"]])
    notes = map_files(writer.notes, units, directory)
    spent = sum((Metrics.decode(note.get(METRICS_NOTE, "{}")) for note in notes), Metrics())
    reasons = failures.summarize_if_all_failed(directory, units)
    if reasons is not None:
        configuration.clear(directory)
        if spent.skipped:
            failed = f"; {spent.failures:,} failed: {reasons}" if reasons else ""
            raise InputError(f"none of {spent.skipped:,} examples meets the condition of --only{failed}")
        raise InputError(f"none of the examples could be explained: {reasons}")
    measured = {"spent": {**spent.describe(), "units_retried": retried}, "precision_error": spent.describe_precision()}
    writer.commit(units, manifest | measured)
