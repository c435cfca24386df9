"""A store for each window: of streams, of windows that overlap, and of late elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.testing import test_stream
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, IntervalWindow, Sessions, SlidingWindows, TimestampedValue

import tb_deepexplain as dx
from beam_pipelines.engine.beam_counters import NAMESPACE
from beam_pipelines.transforms import Attribute, WriteAttributions
from beam_pipelines.transforms.write_attributions import _Commit, _Stores
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.marker import PLUGIN_NAME
from tb_deepexplain.store.records import Failure
from tests.transforms.elements import make_elements, make_pipeline

LATENESS = {
    "trigger": AfterWatermark(late=AfterCount(1)),
    "allowed_lateness": 1000,
    "accumulation_mode": AccumulationMode.DISCARDING,
}
START = 1_795_834_800  # 2026-11-28T03:00:00Z


def read(logdir: Path) -> dict[str, set[str]]:
    """The ids of the examples of each store, by the time in its name."""
    folder = logdir / "attributions" / "plugins" / PLUGIN_NAME
    return {
        path.parent.name.removeprefix("default-20261128T"): set(dx.Store(path.parent).index["example_id"].to_pylist())
        for path in folder.glob("*/manifest.json")
    }


def timed(*numbers: int) -> list[TimestampedValue]:
    """One element a minute."""
    return [TimestampedValue(make_elements()[i], START + 60 * i) for i in numbers]


def counters(result: Any) -> dict[str, int]:
    """Beam's counters of the examples that were written and committed."""
    queried = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    return {c.key.metric.name: c.committed for c in queried if c.key.metric.name.endswith(("written", "committed"))}


def test_windows_that_overlap_have_their_stores(model: Path, tmp_path: Path) -> None:
    p = make_pipeline()
    examples = p | beam.Create(timed(0, 1, 2, 3, 4)) | beam.Map(lambda value: value)
    windowed = examples | beam.WindowInto(SlidingWindows(240, 120))
    _ = windowed | Attribute(model, ["saliency"]) | WriteAttributions(tmp_path, by_window=True)
    result = p.run()
    result.wait_until_finish()
    assert counters(result) == {"examples_written": 10, "examples_committed": 10}
    assert read(tmp_path) == {
        "025800Z": {"p00", "p01"},
        "030000Z": {"p00", "p01", "p02", "p03"},
        "030200Z": {"p02", "p03", "p04"},
        "030400Z": {"p04"},
    }
    store = dx.Store(tmp_path / "attributions" / "plugins" / PLUGIN_NAME / "default-20261128T030400Z")
    assert store.manifest["name"] == "default-20261128T030400Z"
    assert store.manifest["options"]["window"] == ["2026-11-28T03:04:00Z", "2026-11-28T03:08:00Z"]


def run_stream(
    p: beam.Pipeline, model: Path, logdir: Path, late: list[TimestampedValue], **windowing: Any
) -> dict[str, int]:
    """A stream whose `late` elements come when their window has closed; the counters of examples."""
    stream = test_stream.TestStream().advance_watermark_to(START).add_elements(timed(0, 2))
    stream = stream.advance_watermark_to(START + 130)
    stream = stream.add_elements(late) if late else stream
    stream = stream.advance_watermark_to(START + 500).add_elements(timed(9)).advance_watermark_to_infinity()
    windowed = p | stream | beam.WindowInto(FixedWindows(120), **windowing)
    _ = windowed | Attribute(model, ["saliency"]) | WriteAttributions(logdir, by_window=True, max_error_rate=0)
    result = p.run()
    result.wait_until_finish()
    return counters(result)


def make_stream_pipeline() -> beam.Pipeline:
    """Beam's local runner takes no TestStream. This one drops nothing that is late, and loses counts of later bundles; for the rest,
    see tests/runners/test_prism.py."""
    return beam.Pipeline(runner=BundleBasedDirectRunner())


def test_a_stream_is_committed_window_by_window(model: Path, tmp_path: Path) -> None:
    assert run_stream(make_stream_pipeline(), model, tmp_path, [])["examples_committed"] == 3
    assert read(tmp_path) == {"030000Z": {"p00"}, "030200Z": {"p02"}, "030800Z": {"p09"}}


def test_late_elements_that_are_allowed_are_added(model: Path, tmp_path: Path) -> None:
    late = [*timed(1), TimestampedValue(("bad", {"image": [1.0]}), START)]
    assert run_stream(make_stream_pipeline(), model, tmp_path, late, **LATENESS)["examples_committed"] == 4
    assert read(tmp_path) == {"030000Z": {"p00", "p01"}, "030200Z": {"p02"}, "030800Z": {"p09"}}
    store = dx.Store(tmp_path / "attributions" / "plugins" / PLUGIN_NAME / "default-20261128T030000Z")
    assert store.errors()["example_id"].to_pylist() == ["bad"]  # errors of a stream never end it


def test_a_later_commit_adds_its_units(model: Path, tmp_path: Path) -> None:
    """Whether Beam's panes hold all units of the window so far, or only the new ones."""
    stores, window = _Stores((str(tmp_path), "run", "mine"), True, (), "1-"), IntervalWindow(START, START + 60)
    commit = _Commit(stores, 1, Attribute(model, ["saliency"]).request, "predicted")
    for unit in ("a", "b"):
        with stores.writer(window).shard(f"bundle-1-{unit}") as shard:
            shard.add(errors=[Failure(unit, "parse", "InputError", "no")])
    for panes, units in ((["a"], ["a"]), (["b"], ["a", "b"]), (["a", "b"], ["a", "b"]), (["a"], ["a", "b"])):
        (manifest,) = commit.process([f"bundle-1-{unit}" for unit in panes], (), window)
        assert manifest["units"] == [f"bundle-1-{unit}" for unit in units]
    assert manifest["counts"]["errors"] == 2


def test_a_window_of_another_run_is_refused(model: Path, tmp_path: Path) -> None:
    for _ in range(2):
        p = make_pipeline()
        windowed = p | beam.Create(timed(0)) | beam.Map(lambda value: value) | beam.WindowInto(FixedWindows(120))
        _ = windowed | Attribute(model, ["saliency"]) | WriteAttributions(tmp_path, by_window=True)
        if not read(tmp_path):
            p.run().wait_until_finish()
    with pytest.raises(Exception, match="was committed by another run meanwhile; give another name"):
        p.run()
    assert read(tmp_path) == {"030000Z": {"p00"}}


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (None, "the elements are in the global window; put beam.WindowInto"),
        (Sessions(60), "merges windows, such as sessions"),
    ],
)
def test_windows_without_a_store_are_refused(windows: Any, message: str, tmp_path: Path) -> None:
    p = make_pipeline()
    examples = p | beam.Create(make_elements()[:1])
    examples = examples if windows is None else examples | beam.WindowInto(windows)
    with pytest.raises(ParameterError, match=message):
        _ = examples | Attribute("nowhere", ["saliency"]) | WriteAttributions(tmp_path, by_window=True)
