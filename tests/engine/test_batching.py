"""How many examples are explained at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_pipelines.engine.batch_size import FIRST, LARGEST, SECONDS, BatchSize, examples_to_fill
from tb_deepexplain.attribution import batch_sizes, device_memory
from tb_deepexplain.attribution.compiled_method import CompiledMethod
from tb_deepexplain.recording.example import Example
from tests.pipeline_runs import Run, pictures, write_records


def test_batches_grow_as_long_as_they_take_little_time() -> None:
    size = BatchSize(None)
    sizes = []
    for _ in range(8):
        sizes.append(size.current)
        size.record(size.current, SECONDS / 10)
    assert sizes[:2] == [FIRST, 2 * FIRST]
    assert sizes == sorted(sizes)
    assert sizes[-1] == sizes[-2] == LARGEST


def test_batches_that_take_long_are_halved_down_to_one() -> None:
    size = BatchSize(None)
    sizes = []
    for _ in range(6):
        size.record(size.current, 3 * SECONDS)
        sizes.append(size.current)
    assert sizes == [8, 4, 2, 1, 1, 1]
    size.record(1, SECONDS)
    assert size.current == 1


def test_a_batch_that_was_not_full_is_ignored() -> None:
    size = BatchSize(None)
    for seconds in (0, 10 * SECONDS):
        size.record(FIRST - 1, seconds)
        assert size.current == FIRST


def test_batches_of_evaluations_are_filled_however_long_that_takes() -> None:
    """A run with measures explained 1.2 examples a batch; on a GPU a batch of evaluations holds thousands."""
    size = BatchSize(None)
    for seconds in (0.01, 10 * SECONDS, 10 * SECONDS):
        size.record(size.current, seconds, to_fill=40)
        assert size.current >= 40
    assert size.current == 40
    for _ in range(8):
        size.record(size.current, SECONDS / 10, to_fill=4096)
    assert size.current == 2 * 4096  # which lets the explainer try larger batches of evaluations
    size.record(1, SECONDS, to_fill=1)  # another method fills its batches with less
    assert size.current == LARGEST


def test_examples_that_fill_a_batch_must_fit_into_memory() -> None:
    explainer: Any = SimpleNamespace(examples_to_fill=4096)
    assert examples_to_fill(explainer, [Example("a", {"x": np.zeros(10, np.float32)})]) == 4096
    assert examples_to_fill(explainer, [Example("a", {"x": np.zeros(1 << 20, np.float32)})]) == 64


def test_a_fixed_size_stays() -> None:
    size = BatchSize(7)
    for seconds in (0, 10 * SECONDS):
        size.record(7, seconds)
        assert size.current == 7


@pytest.mark.slow
def test_a_nearly_full_card(
    image: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run finishes in batches that fit, and says so; where nothing fits, it ends with a sentence."""
    monkeypatch.setattr(batch_sizes, "_measured", {})
    monkeypatch.setattr(device_memory, "free_memory", lambda _: 5_000_000)
    source = write_records(tmp_path / "a.tfrecord", pictures(40))
    assert image(source, "--batch_size=8192", methods="gradient_x_input") == 0
    at_once = image.store.manifest["spent"]["evaluations_at_once"]["gradient_x_input"]
    assert 1 <= at_once <= 512
    assert f"{at_once} evaluations at once instead of 8,192, for lack of memory" in capsys.readouterr().out

    def fail(*_: Any) -> Any:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(CompiledMethod, "__call__", fail)
    assert image(source, "--overwrite", methods="gradient_x_input") != 0
    output = capsys.readouterr()
    assert "one evaluation of one example does not fit into the memory of CPU:0" in output.out + output.err
