"""The progress of a run: a bar on a terminal, lines elsewhere, Beam's metrics, the manifest."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.engine import native_logs, progress_display
from beam_pipelines.engine.pipeline_attempt import PipelineAttempt
from beam_pipelines.engine.progress_display import ProgressDisplay, format_duration
from beam_pipelines.engine.progress_folder import ProgressFolder
from beam_pipelines.engine.run_limits import RunLimits
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.errors import Stopped, StoreError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import make_request
from tb_deepexplain.recording.work_metrics import Metrics
from tests.pipeline_runs import Run, pictures, write_records


class Clock:
    """The monotonic clock, set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_lines_come_less_often_and_show_rate_and_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(10_000) as display:
        clock.now += 11  # workers start
        display.update(0, 0)
        for second in range(1, 101):
            clock.now += 1
            display.update(10 * second, second // 50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "explained 0 of 10,000 examples"
    assert lines[1] == "explained 210 of 10,000 examples, 10.0/s, 16 min 19 s left"
    assert lines[2] == "explained 620 of 10,000 examples, 10.0/s, 15 min 38 s left, 1 failed"
    assert len(lines) == 3


def test_after_a_restart_the_rate_is_that_of_the_new_workers(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(1000) as display:
        for second in range(1, 6):
            clock.now += 1
            display.update(100 * second, 0)
        display.restart(300)
        clock.now += 60
        display.update(0, 0)
        for second in range(1, 22):
            clock.now += 1
            display.update(5 * second, 0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "explained 300 of 1,000 examples"
    assert lines[1] == "explained 405 of 1,000 examples, 5.0/s, 1 min 59 s left"


def test_the_rate_of_examples_that_are_done_together(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches of four, each in 40 seconds: ten seconds for each example, not four within the moment of an update."""
    with ProgressDisplay(16) as display:
        for tick in range(160 * 5):
            clock.now += 0.2
            display.update(4 * (tick // 200), 0)
    lines = capsys.readouterr().err.splitlines()
    seconds_each = [float(each) for line in lines for each in re.findall(r", ([\d.]+) s each, ", line)]
    assert len(seconds_each) > 1
    assert all(9.9 < each < 21 for each in seconds_each)


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with ProgressDisplay(10) as display:
        display.update(4, 1)
        display.update(8, 1)
    shown = terminal.getvalue()
    assert "starting" in shown
    assert "explaining" in shown
    assert "8/10" in shown
    assert "1 failed" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (86_400 * 2.5, "2 d 12 h"),
        (86_400 * 1000, "1000 d 0 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_rates_below_one_are_shown_as_time_for_each() -> None:
    assert [progress_display._format_rate(speed) for speed in (0.25, 2, 1234.5)] == ["4.0 s each", "2.0/s", "1,234/s"]


def test_beam_and_the_manifest_hold_the_same_figures(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results: list[Any] = []
    real = FnApiRunner.run_pipeline

    def run_pipeline(self: FnApiRunner, *arguments: Any) -> Any:
        results.append(real(self, *arguments))
        return results[-1]

    monkeypatch.setattr(FnApiRunner, "run_pipeline", run_pipeline)
    source = write_records(tmp_path / "a.tfrecord", [*pictures(21), b"no example"])
    assert image(source, "--unit_size=11", "--batch_size=4") == 1
    metrics = results[0].metrics().query(MetricsFilter().with_namespace("tb_deepexplain"))
    counted = {metric.key.metric.name: metric.result for metric in metrics["counters"]}
    spent = image.store.manifest["spent"]
    assert counted["examples_explained"] == spent["examples"] == 21
    assert counted["examples_failed"] == counted["examples_failed_parse"] == spent["errors"]["parse"] == 1
    assert counted["evaluations"] == spent["evaluations"] == 42
    assert counted["out_of_memory_retries"] == spent["out_of_memory_retries"] == 0
    assert abs(counted["milliseconds_in_model"] / 1e3 - spent["seconds_in_model"]) < 0.02
    assert abs(counted["milliseconds_outside"] / 1e3 - spent["seconds_outside"]) < 0.02
    (sizes,) = [m.result for m in metrics["distributions"] if m.key.metric.name == "batch_size"]
    assert (sizes.count, sizes.min, sizes.max) == (spent["batches"], 2, 4)
    assert spent["examples_in_a_batch"] == round(sizes.mean, 2)
    assert spent["evaluations_at_once"] == {"gradient_x_input": 4, "saliency": 4}
    assert spent["batches_with_xla"] == {}
    report = capsys.readouterr().out
    assert "work      42 evaluations (" in report
    assert "4 evaluations at once" in report


def test_a_report_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    progress = ProgressFolder(tmp_path)
    progress.create()
    progress.report_examples(2, 1, "why")
    (tmp_path / ".progress" / ".host-1-2").write_text("")
    assert [(report.done, report.failed, report.reason) for report in progress.read_reports()] == [(2, 1, "why")]


def test_a_request_to_stop_ends_with_its_run(tmp_path: Path) -> None:
    driver, worker = ProgressFolder(tmp_path), ProgressFolder(tmp_path)
    driver.request_stop()  # before there is anything to stop
    driver.create()
    worker.report_examples(1, 1, "why")
    driver.request_stop()
    with pytest.raises(Stopped):
        worker.report_examples(1)
    driver.create()
    assert driver.read_reports() == []
    worker.report_examples(1)
    worker.write_report()
    (report,) = driver.read_reports()
    assert (report.done, report.failed, report.reason) == (3, 1, "why")
    driver.clear()
    with pytest.raises(StoreError, match="was removed while the run was writing to it"):
        driver.read_reports()


def test_a_stall_is_noticed_once_until_a_map_is_finished(tmp_path: Path, clock: Clock) -> None:
    lines: list[str] = []
    display: Any = SimpleNamespace(update=lambda *_: None, print=lines.append)
    progress = ProgressFolder(tmp_path)
    progress.create()
    progress.report_unit("00000-00001")
    attempt = PipelineAttempt(progress, RunLimits(0.5, 3600), display, (0, 0))
    workers: Any = SimpleNamespace(process_ids=list)
    for seconds, done, notices in [(590, 0, 0), (20, 0, 1), (2000, 0, 1), (0, 1, 1), (590, 0, 1), (20, 0, 2)]:
        clock.now += seconds
        progress.report_examples(done)
        progress.write_report()
        attempt._update_progress()
        assert attempt._find_stall(workers) is None
        assert len(lines) == notices
    assert lines[0] == "no worker has finished a map for 10 min 10 s, at unit 00000-00001"


@pytest.mark.parametrize("fails", [None, 0, 2, 4])
def test_every_example_is_reported_once(image: Run, fails: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    request = make_request(image.model, ["saliency", "gradient_x_input"], target="top:2")
    explainer, real = BatchExplainer(request), Explainer.run
    examples = [Example(str(i), {"image": np.full((8, 8, 3), i, np.float32)}) for i in range(5)]

    def run(self: Explainer, xs: Any, **options: Any) -> Any:
        if self.method.id == "gradient_x_input" and fails in xs.arrays[0][:, 0, 0, 0]:
            raise RuntimeError("halfway through")
        return real(self, xs, **options)

    monkeypatch.setattr(Explainer, "run", run)
    reported: list[float] = []
    records = explainer.explain(examples, reported.append)
    assert [failure.example_id for failure in records.errors] == ([] if fails is None else [str(fails)])
    assert [shown.example_id for shown in records.inputs] == [str(i) for i in range(5) if i != fails]
    assert sum(reported) == pytest.approx(5)
    if fails is None:
        assert reported == [5 / 4] * 4

    def stop(share: float, left: list[float] = reported) -> None:  # raises once: the batch is not halved after it
        if left:
            left.clear()
            raise Stopped

    with pytest.raises(Stopped):
        explainer.explain(examples, stop)


def test_metrics_add_up_and_travel() -> None:
    one = Metrics(explained=2, failed={"parse": 1}, total_seconds=1.5)
    one.batch(2, 20, 0.5)
    one.batches_of("saliency", {64: 3, 256: 1}, with_xla=0, halvings=1)
    other = Metrics(failed={"parse": 1, "read": 2})
    other.batches_of("saliency", {64: 2}, with_xla=2, halvings=0)
    total = Metrics.decode((one + other).encode())
    assert total == Metrics(
        explained=2, failed={"parse": 2, "read": 2}, evaluations=20, batch_sizes={"2": 1}, model_seconds=0.5,
        total_seconds=1.5, evaluation_batches={"saliency": {"64": 5, "256": 1}}, batches_with_xla={"saliency": 2},
        oom_retries=1,
    )  # fmt: skip
    assert total.describe()["evaluations_at_once"] == {"saliency": 64}  # which did most of the work


def test_filters_in_several_threads_restore_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TB_DEEPEXPLAIN_QUIET", "1")
    before, entered = os.fstat(2), threading.Event()

    def one() -> None:
        with native_logs.filter_native_stderr():
            entered.set()
            time.sleep(0.2)

    first, second = (threading.Thread(target=one) for _ in range(2))
    first.start()
    entered.wait(60)
    second.start()
    for thread in (first, second):
        thread.join()
    assert os.path.samestat(os.fstat(2), before)


def test_errors_of_threads_are_still_reported_when_logs_are_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(str(args.exc_value)))
    monkeypatch.setattr(logging.getLogger(), "level", logging.getLogger().level)
    monkeypatch.setattr(logging.getLogger("tensorflow"), "level", logging.getLogger("tensorflow").level)
    monkeypatch.setenv("TB_DEEPEXPLAIN_QUIET", "")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    native_logs.silence_logs()

    def fail() -> None:
        raise RuntimeError("of this program")

    names = {"__name__": "apache_beam.runners.fake", "RuntimeError": RuntimeError}
    exec("def fail():\n    raise RuntimeError('of the runner')", names)
    for target in (fail, names["fail"]):
        thread = threading.Thread(target=target)  # type: ignore[arg-type]
        thread.start()
        thread.join()
    assert reported == ["of this program"]
