"""How many evaluations at once: measured, bounded by memory, and without effect on the maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tb_deepexplain.attribution import batch_sizes, device_memory, xla_trial
from tb_deepexplain.attribution.batch_growth import GPU
from tb_deepexplain.attribution.compiled_method import CompiledMethod, EncodedMaps
from tb_deepexplain.attribution.device_memory import MemoryUse
from tb_deepexplain.attribution.xla_trial import XlaTrial, agree
from tb_deepexplain.evaluation.evaluator import Evaluator
from tests import models
from tests.closeness import assert_maps_close

PICTURES = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype(np.float32)
SIZES = [1, 7, 64, 512, 4096]


@pytest.fixture(scope="module")
def graph() -> dx.ModelGraph:
    return models.graph(models.image)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured yet."""
    monkeypatch.setattr(batch_sizes, "_measured", {})


@pytest.fixture
def gpu(fresh: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """This device counts as a GPU with so many free bytes."""
    monkeypatch.setattr(device_memory, "device_type", lambda _: "GPU")

    def with_free(free: int) -> None:
        monkeypatch.setattr(device_memory, "free_memory", lambda _: free)
        monkeypatch.setattr(device_memory, "memory_use", lambda _: None)

    return with_free


@pytest.fixture
def sizes_tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(evaluations at once, examples) of each call of a method."""
    calls, real = list[tuple[int, int]](), CompiledMethod.__call__

    def call(self: Any, batch: Any, batch_size: int, *rest: Any) -> Any:
        calls.append((batch_size, len(batch.rows)))
        return real(self, batch, batch_size, *rest)

    monkeypatch.setattr(CompiledMethod, "__call__", call)
    return calls


@pytest.mark.parametrize("method", ["gradient_x_input", "deeplift", "integrated_gradients", "occlusion"])
def test_maps_do_not_depend_on_the_batch(method: str, graph: dx.ModelGraph) -> None:
    """Fixed work: up to rounding. Refined to a tolerance: within it."""
    options: dict[str, Any] = {"window_shape": (4, 4, 3), "step": 4} if method == "occlusion" else {}
    explainer = dx.Explainer(method, graph, target=1, **options)
    expected = explainer.run(PICTURES)
    for size in SIZES:
        assert_maps_close(explainer.run(PICTURES, batch_size=size), expected)


def test_the_size_is_measured_and_remembered(gpu: Any, graph: dx.ModelGraph, sizes_tried: Any) -> None:
    gpu(10**12)
    xs = np.tile(PICTURES, (400, 1, 1, 1))
    for _ in range(2):
        maps = dx.Explainer("gradient_x_input", graph, target=1).run(xs)
    assert sizes_tried[0] == (batch_sizes.FIRST_ON_GPU, batch_sizes.FIRST_ON_GPU)
    assert (2 * batch_sizes.FIRST_ON_GPU, 2 * batch_sizes.FIRST_ON_GPU) in sizes_tried
    (state,) = batch_sizes._measured[dx.Explainer("gradient_x_input", graph).submodel].values()
    assert (
        state.growth.best
        == dx.Explainer("gradient_x_input", graph, target=1)
        .batch_sizes.of(dx.Explainer("gradient_x_input", graph).check(xs), None)
        .evaluations()
    )
    expected = dx.Explainer("gradient_x_input", graph, target=1).run(PICTURES, batch_size=64)
    assert_maps_close(maps, np.tile(expected, (400, 1, 1, 1)))


def test_a_first_batch_that_cannot_fit_is_not_tried(gpu: Any, graph: dx.ModelGraph, sizes_tried: Any) -> None:
    explainer = dx.Explainer("gradient_x_input", graph, target=1)
    explainer.run(PICTURES[:1])
    ratio = explainer.submodel.activation_ratio([], [])
    gpu(int(100 * 2 * 4 * PICTURES[0].size * ratio * 2))  # room for 100 evaluations in half of it
    batch_sizes._measured.clear()
    sizes_tried.clear()
    with pytest.warns(
        UserWarning, match="batch_size=8192 needs more than half of the memory that is free of CPU:0: 64 ev"
    ) as seen:
        explainer.run(np.tile(PICTURES, (5, 1, 1, 1)), batch_size=8192)
    assert len(seen) == 1
    explainer.run(np.tile(PICTURES, (5, 1, 1, 1)))
    assert {size for size, _ in sizes_tried} == {64}


def test_peaks_correct_the_bound(gpu: Any, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(10**9)
    peaks = iter([10, 10 + 32 * 10**7, *[10 + 32 * 10**7] * 50])
    monkeypatch.setattr(device_memory, "memory_use", lambda _: MemoryUse(10, next(peaks)))
    explainer = dx.Explainer("gradient_x_input", graph, target=1)
    explainer.run(PICTURES[:32], batch_size=32)  # takes 10 MB an evaluation
    assert (
        explainer.batch_sizes.of(explainer.check(PICTURES), None).evaluations() == 32
    )  # of the 50 in half of a gigabyte


def test_what_a_method_keeps_is_not_memory_of_evaluations(
    gpu: Any, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integrated gradients keep the gradients of their evaluations, in a quarter of what is free at most."""
    gpu(10**9)
    explainer = dx.Explainer("integrated_gradients", graph, target=1)
    evaluations = int(explainer.run(PICTURES[:32], batch_size=32, return_result=True).evaluations.sum())
    batch_sizes._measured.clear()
    peak = 4 * PICTURES[0].size * (evaluations + 4 * 32) + 32 * 5 * 10**5
    peaks = iter([0, peak, *[peak] * 50])
    monkeypatch.setattr(device_memory, "memory_use", lambda _: MemoryUse(0, next(peaks)))
    explainer.run(PICTURES[:32], batch_size=32)  # takes half a megabyte an evaluation
    assert explainer.batch_sizes.of(explainer.check(PICTURES), None).evaluations() == 512  # of the 1000 in a half


def test_a_batch_that_is_not_full_does_not_lower_the_memory_of_one(
    gpu: Any, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of a pipeline has few examples."""
    explainer = dx.Explainer("gradient_x_input", graph, target=1)
    explainer.run(PICTURES[:1])
    ratio = explainer.submodel.activation_ratio([], [])
    gpu(int(100 * 2 * 4 * PICTURES[0].size * ratio * 2))  # room for 100 evaluations in half of it
    batch_sizes._measured.clear()
    sizes = explainer.batch_sizes.of(explainer.check(PICTURES), None)
    assert sizes.evaluations() == 64
    peaks = iter([0, 1000, *[1000] * 50])
    monkeypatch.setattr(device_memory, "memory_use", lambda _: MemoryUse(0, next(peaks)))
    explainer.run(PICTURES[:3])
    assert sizes.evaluations() == 64


@pytest.mark.parametrize("method", ["gradient_x_input", "occlusion"])
def test_a_batch_that_does_not_fit_is_halved_at_once(
    method: str, fresh: None, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"window_shape": (4, 4, 3), "step": 4} if method == "occlusion" else {}
    explainer = dx.Explainer(method, graph, target=1, **options)
    expected, tried, real = explainer.run(PICTURES), list[int](), CompiledMethod.__call__
    batch_sizes._measured.clear()

    def small_device(self: Any, batch: Any, batch_size: int, *rest: Any) -> Any:
        tried.append(batch_size)
        if batch_size > 20:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return real(self, batch, batch_size, *rest)

    monkeypatch.setattr(CompiledMethod, "__call__", small_device)
    with pytest.warns(UserWarning, match=r"out of memory with \d+ evaluations at once: \d+ from now on"):
        maps = explainer.run(PICTURES)
    assert_maps_close(maps, expected)
    failed = [size for size in tried if size > 20]
    assert failed == sorted(failed, reverse=True)
    half = 20 if method == "gradient_x_input" else 16  # of the 40 evaluations of the examples, or of a batch
    assert set(tried[len(failed) :]) == {half}
    assert explainer.batch_log.halvings == len(failed)
    tried.clear()
    explainer.run(PICTURES)
    assert set(tried) == {half}  # for good


def test_predictions_that_do_not_fit_are_halved(
    fresh: None, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = dx.Explainer("saliency", graph)
    expected, real = explainer.predict(PICTURES).outputs, explainer.submodel.predict

    def small_device(inputs: Any) -> Any:
        if len(inputs[0]) > 20:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return real(inputs)

    monkeypatch.setattr(explainer.submodel, "predict", small_device)
    with pytest.warns(UserWarning, match="out of memory with 40 evaluations at once: 20 from now on"):
        assert_maps_close(explainer.predict(PICTURES).outputs, expected)


def test_measures_that_do_not_fit_are_halved(
    fresh: None, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = dx.Evaluator(dx.Explainer("saliency", graph, target=1), ["deletion"])
    result = evaluator.explainer.run(PICTURES, return_result=True)
    expected, real, shares = evaluator.run(PICTURES, result), Evaluator._measure_scores, list[float]()

    def small_device(self: Any, measure: Any, batch: Any, maps: Any, extras: Any, batch_size: int) -> Any:
        if batch_size > 20:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return real(self, measure, batch, maps, extras, batch_size)

    monkeypatch.setattr(Evaluator, "_measure_scores", small_device)
    with pytest.warns(UserWarning, match=r"out of memory with \d+ evaluations at once: \d+ from now on"):
        measured = evaluator.run(PICTURES, result, report=shares.append)
    assert_maps_close(measured["deletion"].value, expected["deletion"].value)
    assert sum(shares) == pytest.approx(1)


def test_one_evaluation_that_does_not_fit_is_refused_in_a_sentence(fresh: None) -> None:
    """A real request: 64 terabytes for one example."""
    huge = tf.function(lambda x: tf.reduce_sum(tf.tile(x[:, :, None], [1, 1, 2**44]), [1, 2])[:, None])
    function = huge.get_concrete_function(tf.TensorSpec([None, 1], tf.float32))
    explainer = dx.Explainer("saliency", function, check_model=False, check_batch=False)
    with (
        pytest.raises(dx.OutOfMemoryError, match="one evaluation of one example does not fit into the memory of CPU:0"),
        pytest.warns(UserWarning, match="out of memory with"),
    ):
        explainer.run(np.ones((2, 1), np.float32), target=None)


# XLA


class Clock:
    """Time that passes only by `wait`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float, value: float = 1.0) -> Any:
        self.now += seconds
        return SimpleNamespace(maps=[np.full((3, 2), value)])


def compare(seconds: float, compile_seconds: float, compiled_seconds: float, value: float = 1.0) -> bool:
    """Whether XLA is kept after a trial with these times."""
    clock = Clock()
    trial = XlaTrial(True, clock)
    trial.record(xla_trial.COMPILE_SECONDS)
    assert trial.is_due(0)
    times = iter([compile_seconds, compiled_seconds])
    output = trial.compare(lambda: clock.wait(seconds), lambda: clock.wait(next(times), value))
    assert output.maps[0][0, 0] == 1.0
    assert not trial.is_due(1e9)  # once
    return trial.is_kept


def test_xla_is_kept_where_it_is_faster_and_gives_the_same_maps() -> None:
    assert compare(1.0, 30.0, 0.5)
    assert not compare(1.0, 30.0, 0.99)
    assert not compare(1.0, 30.0, 2.0)
    assert not compare(1.0, 30.0, 0.5, value=1.01)


def test_xla_is_tried_once_the_expected_work_outlasts_a_compilation() -> None:
    trial = XlaTrial(True)
    assert not trial.is_due(xla_trial.COMPILE_SECONDS / 2)
    trial.record(xla_trial.COMPILE_SECONDS / 2)
    assert not trial.is_due(0)
    assert trial.is_due(xla_trial.COMPILE_SECONDS)
    trial = XlaTrial(False)
    assert not trial.is_due(1e9)


def test_a_model_that_xla_cannot_compile_is_explained_without_it() -> None:
    trial = XlaTrial(True)
    assert trial.is_due(1e9)

    def fail() -> Any:
        raise tf.errors.InvalidArgumentError(None, None, "unsupported operation")

    assert trial.compare(lambda: Clock().wait(0), fail).maps
    assert not trial.is_kept


def test_a_few_maps_may_differ_at_kinks() -> None:
    maps = np.random.default_rng(0).normal(size=(9, 4, 4))
    others = maps.copy()
    others[:3] *= 1.1
    assert agree([maps], [others])
    assert not agree([maps], [maps * 1.01])


def encode_as_arrays(maps: Sequence[Any]) -> EncodedMaps:
    """Of one input: the maps as they are."""
    n, rows = len(maps[0]), np.empty(len(maps[0]), object)
    rows[:] = list(np.asarray(maps[0]))
    return EncodedMaps([(8, 8, 3)], rows, np.zeros(n, bool), np.ones(n, bool), np.zeros(n))


@pytest.mark.parametrize(("jit", "encodes"), [(None, False), (None, True), (False, False), (True, False)])
def test_xla_is_tried_on_a_gpu_unless_jit_says(
    jit: bool | None, encodes: bool, gpu: Any, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole path, on a CPU that counts as a GPU."""
    gpu(10**12)
    monkeypatch.setattr(xla_trial, "COMPILE_SECONDS", 0.0)
    monkeypatch.setattr(xla_trial, "GAIN", 0.0)  # however slow
    monkeypatch.setattr(batch_sizes, "FIRST_ON_GPU", 16)
    monkeypatch.setattr(batch_sizes.batch_growth, "GPU", GPU._replace(doublings=0))
    explainer = dx.Explainer("gradient_x_input", graph, target=1, jit=jit)
    expected = dx.Explainer("gradient_x_input", graph, target=1, jit=False).run(PICTURES, batch_size=16)
    compiled, real = list[tuple[bool, int]](), explainer.explain_batch

    def explain_batch(batch: Any, size: int, jit: bool | None = None, **options: Any) -> Any:
        compiled.append((bool(jit), len(batch.rows)))
        return real(batch, size, jit=jit, **options)

    monkeypatch.setattr(explainer, "explain_batch", explain_batch)
    if encodes:
        encoded = explainer.run(PICTURES, return_result=True, encode=encode_as_arrays).attributions
        assert_maps_close(np.stack(encoded.rows.tolist()), expected, share=1e-4)
    else:
        assert_maps_close(explainer.run(PICTURES), expected, share=1e-4)
    if jit is None:  # the trial: without, twice with XLA; then with XLA where a batch is full
        assert compiled == [(False, 16), (True, 16), (True, 16), (True, 16), (False, 8)]
        assert explainer.batch_log.batches_with_xla == 1
    else:
        assert {tried for tried, _ in compiled} == {False}  # the explainer's own


def test_xla_is_not_tried_on_a_cpu(fresh: None, graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer("gradient_x_input", graph, target=1)
    assert not explainer.batch_sizes.of(explainer.check(PICTURES), None).xla.is_due(1e9)


def test_few_examples_that_do_not_fit_are_halved_not_the_empty_batch(
    gpu: Any, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a method of one pass: a batch of 1,024 evaluations that holds four examples is one of four."""
    gpu(10**12)
    tried = list[int]()

    def no_memory(_: Any, batch: Any, *__: Any) -> Any:
        tried.append(len(batch.rows))
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(CompiledMethod, "__call__", no_memory)
    explainer = dx.Explainer("gradient_x_input", graph, target=1)
    with pytest.raises(dx.OutOfMemoryError), pytest.warns(UserWarning, match="out of memory with [42] evaluations"):
        explainer.run(PICTURES[:4])
    assert tried == [4, 2, 1]


def test_a_sample_in_float32_that_does_not_fit_is_halved(
    fresh: None, graph: dx.ModelGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CompiledMethod.__call__

    def small_device(self: Any, batch: Any, *rest: Any) -> Any:
        if len(batch.rows) > 4:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return real(self, batch, *rest)

    monkeypatch.setattr(CompiledMethod, "__call__", small_device)
    explainer = dx.Explainer("gradient_x_input", graph, target=1, precision="float64")
    with pytest.warns(UserWarning, match="out of memory with 8 evaluations at once: 4 from now on"):
        error = explainer.run(PICTURES, return_result=True).precision_error
    assert error is not None
    assert error.examples == 8
