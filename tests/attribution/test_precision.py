"""The precision of explanations: whatever the process has set, and put back afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution import explainer as explainer_module
from tb_deepexplain.attribution import precision as precision_module
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.methods.integrated_gradients import integrated_gradients
from tb_deepexplain.attribution.precision import check_mixed, computing_in, forbid_tf32, read_precision
from tb_deepexplain.attribution.precision_error import PrecisionError, describe_error
from tb_deepexplain.attribution.score import Score
from tb_deepexplain.errors import ParameterError
from tests import models

switch = tf.config.experimental
PICTURES = np.random.default_rng(0).normal(size=(10, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def has_half() -> None:
    try:
        check_mixed()
    except ParameterError:
        pytest.skip("this CPU has no bfloat16 for TensorFlow (AVX-512)")


@pytest.fixture
def tf32() -> Iterator[Any]:
    """Sets the process's switch, which is put back after the test."""
    before = switch.tensor_float_32_execution_enabled()
    yield switch.enable_tensor_float_32_execution
    switch.enable_tensor_float_32_execution(before)


def net() -> keras.Model:
    """Products that are large enough for TensorFlow's rewriting."""
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(32, activation="gelu") for _ in range(3)]
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), *hidden, layers.Dense(4)])


@pytest.mark.parametrize("on", [True, False])
def test_the_processs_setting_is_put_back_also_after_errors(
    on: bool, tf32: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf32(on)
    seen = []
    predict = Explainer.predict.__wrapped__  # type: ignore[attr-defined]

    def predict_and_see(*arguments: Any, **options: Any) -> Any:
        seen.append(switch_is_on())
        return predict(*arguments, **options)

    explainer = dx.Explainer("saliency", models.graph(models.image))
    monkeypatch.setattr(Explainer, "predict", predict_and_see)
    explainer.run(PICTURES)
    assert seen == [False]
    assert switch.tensor_float_32_execution_enabled() is on
    with pytest.raises(ZeroDivisionError), computing_in("tf32"):
        seen.append(switch_is_on() and 1 // 0)
    assert switch.tensor_float_32_execution_enabled() is on


def test_measures_are_computed_in_the_precision_of_the_maps(tf32: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tf32(True)
    seen, trace = [], Explainer.trace.__wrapped__  # type: ignore[attr-defined]

    def trace_and_see(*arguments: Any, **options: Any) -> Any:
        function, shape = trace(*arguments, **options)

        def call(*inputs: Any) -> Any:
            seen.append(switch_is_on())
            return function(*inputs)

        return call, shape

    evaluator = dx.Evaluator(dx.Explainer("saliency", models.graph(models.image)), ["deletion"])
    result = evaluator.explainer.run(PICTURES[:2], return_result=True)
    monkeypatch.setattr(Explainer, "trace", trace_and_see)
    evaluator.run(PICTURES[:2], result)
    evaluator.chance(PICTURES[:2], result)
    assert seen == [False, False]


def switch_is_on() -> bool:
    return bool(switch.tensor_float_32_execution_enabled())


def test_threads_with_other_settings_wait_for_each_other(tf32: Any) -> None:
    tf32(True)
    wrong, started = [], threading.Barrier(6)

    def compute(precision: str) -> None:
        started.wait()
        for _ in range(10):
            with computing_in(precision):
                time.sleep(0.001)
                wrong.append(switch_is_on() is not (precision == "tf32"))
                with computing_in("float32"):
                    wrong.append(switch_is_on())
                wrong.append(switch_is_on() is not (precision == "tf32"))

    threads = [threading.Thread(target=compute, args=(p,)) for p in ["float32", "tf32", "mixed"] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(wrong) == 6 * 10 * 3
    assert not any(wrong)
    assert switch_is_on()


def test_threads_with_the_same_setting_compute_together(tf32: Any) -> None:
    tf32(False)
    together, finished = threading.Barrier(2, timeout=20), []

    def compute() -> None:
        with computing_in("tf32"):
            together.wait()
            finished.append(True)

    threads = [threading.Thread(target=compute) for _ in range(2)]
    with computing_in("float32"):  # both wait for this thread
        for thread in threads:
            thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(30)
    assert finished == [True, True]


def test_half_precision_leaves_nothing_behind(has_half: None) -> None:
    graph = dx.load_model(net())
    exact = dx.Explainer("integrated_gradients", graph, target=0, steps=8)
    half = dx.Explainer("integrated_gradients", graph, target=0, steps=8, precision="mixed")
    options = tf.config.optimizer.get_experimental_options()
    first, predicted = exact.run(PICTURES), exact.predict(PICTURES).outputs
    mixed = half.run(PICTURES, return_result=True).attributions
    assert np.abs(mixed - first).max() > 1e-4 * np.abs(first).max()
    np.testing.assert_array_equal(half.run(PICTURES, return_result=True).attributions, mixed)
    assert (half.predict(PICTURES).outputs != predicted).any()
    np.testing.assert_array_equal(exact.run(PICTURES), first)
    np.testing.assert_array_equal(exact.predict(PICTURES).outputs, predicted)
    np.testing.assert_array_equal(dx.explain("integrated_gradients", net(), PICTURES, target=0, steps=8), first)
    assert tf.config.optimizer.get_experimental_options() == options


def test_half_precision_of_the_process_does_not_reach_the_maps(has_half: None) -> None:
    option = "auto_mixed_precision_onednn_bfloat16"
    expected = dx.explain("gradient_x_input", net(), PICTURES, target=0)
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        actual = dx.explain("gradient_x_input", net(), PICTURES, target=0)
        assert tf.config.optimizer.get_experimental_options()[option]
    finally:
        tf.config.optimizer.set_experimental_options({option: False})
    np.testing.assert_array_equal(actual, expected)


def test_another_thread_is_not_affected_by_half_precision(has_half: None) -> None:
    x = tf.random.stateless_uniform([64, 64], [0, 0])

    @tf.function(autograph=False)
    def product(y: Any) -> Any:
        for _ in range(4):
            y = tf.nn.relu(y @ y) / 16
        return y

    exact = product(x).numpy()
    with computing_in("mixed"):
        assert (product(x).numpy() != exact).any()
        others = []
        thread = threading.Thread(target=lambda: others.append(product(x).numpy()))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(others[0], exact)


def test_the_difference_to_float32_is_measured_on_a_sample(has_half: None) -> None:
    graph = dx.load_model(net())
    exact = dx.explain("gradient_x_input", graph, PICTURES, target=1, return_result=True)
    explainer = dx.Explainer("gradient_x_input", graph, target=1, precision="mixed")
    assert explainer.precision_error is None
    result = explainer.run(PICTURES, return_result=True)
    assert exact.precision_error is None
    flat = [r.attributions[:8].reshape(8, -1) for r in (result, exact)]
    differences = np.abs(flat[0] - flat[1]).max(1) / np.abs(flat[1]).max(1)
    error = result.precision_error
    assert error is not None
    np.testing.assert_allclose(error.differences, differences, rtol=1e-6)
    assert (error.examples, error.median, error.worst) == (8, np.median(differences), differences.max())
    assert 0.9 < error.rank_correlation < 1
    assert explainer.run(PICTURES[:3], return_result=True).precision_error == error  # once for each explainer
    assert repr(error).startswith("PrecisionError(") and "of 8 examples" in repr(error)


def test_float32_comes_before_tf32_and_in_batches_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow keeps the plan of a shape, batch included, in the precision in which it was first computed."""
    monkeypatch.setattr(explainer_module, "computes_on_gpu", lambda: True)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    seen, explain_batch = [], Explainer.explain_batch

    def explain_and_see(self: Explainer, batch: Any, *arguments: Any, **options: Any) -> Any:
        seen.append((self.precision, len(batch.rows)))
        return explain_batch(self, batch, *arguments, **options)

    monkeypatch.setattr(Explainer, "explain_batch", explain_and_see)
    explainer = Explainer("integrated_gradients", models.graph(models.image), precision="tf32")
    error = explainer.run(PICTURES, return_result=True).precision_error
    assert seen == [("float32", 13), ("tf32", 10)]
    assert error is not None
    assert (error.examples, error.worst < 1e-5) == (8, True)


def test_the_sample_grows_to_eight_examples(has_half: None) -> None:
    explainer = dx.Explainer("saliency", dx.load_model(net()), target=1, precision="mixed")
    counts = []
    for n in (1, 5, 5):
        explainer.run(PICTURES[:n])
        assert explainer.precision_error is not None
        counts.append(explainer.precision_error.examples)
    assert counts == [1, 6, 8]


@pytest.mark.parametrize(("method", "compared"), [("integrated_gradients", 2), ("saliency", 3)])
def test_maps_that_are_only_rounding_are_not_compared(method: str, compared: int) -> None:
    """The score is 100 and a little: the second example changes it by less than its last digit in float32."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, bias_initializer=keras.initializers.Constant(100))])
    xs = np.random.default_rng(0).uniform(1, 2, (3, 4)).astype(np.float32) * np.float32([[1], [1e-6], [1]])
    error = dx.explain(method, dx.load_model(model), xs, precision="float64", return_result=True).precision_error
    assert error is not None
    assert (error.examples, len(error.rank_correlations), error.worst < 1e-4) == (compared, compared, True)
    maps = np.float32([[1e-4, 0], [1e-3, 1e-3]])
    assert PrecisionError.of([maps * 2], [maps], np.float32([[100, 5], [-200, 200]])).differences == [1.0]


def test_the_error_of_a_map_is_a_share_of_its_largest_value() -> None:
    expected = np.array([[1, -4, 2], [0, 0, 0], [1, 2, np.nan], [1, 2, 3]], np.float32)
    maps = expected + np.float32([[0.4, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, -1.5]])
    error = PrecisionError.of([maps], [expected])
    np.testing.assert_allclose(error.differences, [0.1, 0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(error.rank_correlations, [1, np.nan, 0.5], rtol=1e-6)
    text = "10 % (median), 50 % at worst, rank correlation 0.750, of 3 examples"
    assert describe_error(error.as_json()) == text
    two = PrecisionError.of([maps[:1], maps[:1] * 0], [expected[:1], expected[:1] * 0])  # of two inputs together
    np.testing.assert_allclose(two.differences, [0.1], rtol=1e-6)
    assert (
        describe_error(PrecisionError().as_json()) == "unknown: no map of the sample is finite and larger than rounding"
    )
    tiny = PrecisionError([0.0, 3.6e-7, 2e-5], [])
    assert describe_error(tiny.as_json()).startswith("less than 0.001 % (median), 0.002 % at worst, of 3 examples")
    assert describe_error(PrecisionError([0.0], []).as_json()).startswith("0 % (median), 0 % at worst")
    large = PrecisionError([0.5, 0.996, 12.5], [])
    assert describe_error(large.as_json()).startswith("100 % (median), 1,250 % at worst, of 3 examples")


@pytest.mark.slow
def test_integrated_gradients_stop_at_the_rounding_of_the_precision(has_half: None) -> None:
    xs = np.random.default_rng(0).uniform(size=(16, 16, 16, 3)).astype(np.float32)
    keras.utils.set_random_seed(0)
    convolutions = [layers.Conv2D(n, 3, padding="same", activation="relu") for n in (16, 32)]
    steps = [step for convolution in convolutions for step in (convolution, layers.MaxPooling2D())]
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), *steps, layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10)]
    )
    result = dx.explain("integrated_gradients", model, xs, precision="mixed", return_result=True)
    assert result.evaluations.max() < 128  # 511 without the rounding in the tolerance
    above = np.abs(result.gap) > 0.01 * np.abs(result.score - result.baseline_score)
    assert above.any()
    for texts, is_above in zip(result.warnings, above, strict=True):
        reason = [text for text in texts if "completeness gap" in text]
        assert len(reason) == is_above
        assert all("rounding in mixed precision, which changes scores by up to 0.00" in text for text in reason)
    fixed = dx.explain("integrated_gradients", model, xs, precision="mixed", steps=32, return_result=True)
    texts = {text.split(":")[1] for texts in fixed.warnings for text in texts}
    assert {text[:30] for text in texts} == {" rounding in mixed precision, "}


def test_a_gap_within_the_last_digits_is_not_refined() -> None:
    """f changes by 64 on the path, and its last digit is 1: a tolerance of .001 allows .064."""
    weights = np.linspace(1, 3, 8).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32)])
    def model(x: Any) -> Any:
        return tf.reduce_sum(weights * tf.sin(x), 1, keepdims=True) + 2.0**23

    x = np.full((3, 8), 1.5, np.float32) * np.float32([[1], [0.7], [1.3]])
    result = dx.explain("integrated_gradients", model, x, tolerance=1e-5, return_result=True)
    assert result.evaluations.max() <= 17
    assert not any("jumps" in text for texts in result.warnings for text in texts)


def test_rounding_of_many_intervals_is_no_reason_to_halve_them() -> None:
    """Scores that go up and down, so that there are many intervals, rounded as half precision rounds them."""

    @tf.function(autograph=False)
    def explain(x: Any) -> Any:
        def output(points: list[Any], _: Any) -> Any:
            exact = 0.75 + 0.24 * tf.sin(tf.reduce_sum(points[0], 1))
            return tf.cast(tf.cast(exact, tf.bfloat16), tf.float32)

        score = Score(output, [x])
        score.rounding = 2.0**-9  # half of bfloat16's last digit from 0.5 to 1
        return integrated_gradients(score, tolerance=1e-6)

    explanation = explain(tf.linspace(30.0, 40.0, 8)[:, None])
    assert 17 < explanation.evaluations.numpy().max() < 128  # 511 with half of the noise
    for text, applies in explanation.warnings:
        assert not applies.numpy().any() or b"limits it" in text.numpy()


def test_names_of_precisions() -> None:
    assert [read_precision(), read_precision("tf32"), read_precision(None, True)] == ["float32", "tf32", "mixed"]
    assert read_precision("float32", True) == read_precision("mixed", True) == "mixed"
    with pytest.raises(ParameterError, match="precision='half': expected float32, tf32, mixed or float64"):
        dx.Explainer("saliency", models.graph(models.image), precision="half")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="got mixed_precision and precision='tf32'"):
        read_precision("tf32", True)
    with pytest.raises(ParameterError, match="got jit and precision='mixed'"):
        dx.Explainer("saliency", models.graph(models.image), jit=True, precision="mixed")


def test_half_precision_without_effect_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "_has_half", lambda _: False)
    with pytest.raises(ParameterError, match="no half precision here"):
        dx.Explainer("saliency", models.graph(models.image), precision="mixed")


def test_tf32_that_the_environment_forbids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "computes_on_gpu", lambda: True)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with pytest.raises(ParameterError, match="NVIDIA_TF32_OVERRIDE=0 forbids it"):
        dx.Explainer("saliency", models.graph(models.image), precision="tf32")


def test_tf32_changes_nothing_on_a_cpu(tf32: Any) -> None:
    with pytest.warns(UserWarning, match="precision='tf32' changes nothing on a CPU"):
        explainer = dx.Explainer("saliency", models.graph(models.image), precision="tf32", target=0)
    result = explainer.run(PICTURES, return_result=True)
    assert result.precision_error is None
    np.testing.assert_array_equal(
        result.attributions, dx.explain("saliency", models.graph(models.image), PICTURES, target=0)
    )


@pytest.mark.parametrize(
    ("on", "override", "on_gpu", "warned"),
    [(True, None, True, True), (False, None, True, False), (True, "0", True, False), (True, None, False, False)],
)
def test_a_process_that_computed_in_tf32_is_warned(
    on: bool, override: str | None, on_gpu: bool, warned: bool, tf32: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf32(on)
    monkeypatch.setattr(precision_module, "_began_with_us", threading.Event())
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    if override:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    monkeypatch.setattr(explainer_module, "computes_on_gpu", lambda: on_gpu)
    result = dx.explain("saliency", models.graph(models.image), PICTURES, target=0, return_result=True)
    texts = [text for text in result.warnings[0] if "TF32" in text]
    monkeypatch.setattr(precision_module, "_began_with_us", began := threading.Event())
    precision_module.note_first_computation()
    assert began.is_set()
    assert not precision_module.may_have_computed_in_tf32()
    assert len(texts) == warned
    assert all("enable_tensor_float_32_execution(False) before the first computation" in text for text in texts)


def test_a_process_of_ours_forbids_tf32_unless_it_is_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    forbid_tf32("tf32")
    assert "NVIDIA_TF32_OVERRIDE" not in os.environ
    forbid_tf32("float32")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    forbid_tf32("float32")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "1"


@pytest.mark.slow
def test_names_are_known_without_tensorflow() -> None:
    code = "import sys, tb_deepexplain.attribution.precision, tb_deepexplain.recording.work_metrics; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_methods_share_the_precision(has_half: None) -> None:
    results = dx.explain(["saliency", "gradient_x_input"], net(), PICTURES[:3], precision="mixed", return_result=True)
    assert all(result.precision_error.examples == 3 for result in results.values())


def test_float64_is_the_model_in_float64() -> None:
    graph = models.graph(models.image)
    result = dx.explain("integrated_gradients", graph, PICTURES, target=0, precision="float64", return_result=True)
    expected = dx.explain("integrated_gradients", graph.in_float64(), PICTURES, target=0, return_result=True)
    assert (result.attributions.dtype, result.score.dtype) == (np.float64, np.float64)
    np.testing.assert_array_equal(result.attributions, expected.attributions)
    exact = dx.explain("integrated_gradients", graph, PICTURES, target=0)
    error = result.precision_error
    assert error is not None
    differences = np.abs(exact - result.attributions)[:8].reshape(8, -1).max(1) / np.abs(exact[:8]).reshape(8, -1).max(
        1
    )
    np.testing.assert_allclose(error.differences, differences, rtol=1e-3)
    assert 0 < error.median < 1e-5


@pytest.mark.slow
def test_a_small_tolerance_is_met_in_float64() -> None:
    model = net()
    for precision, is_met in (("float32", False), ("float64", True)):
        result = dx.explain(
            "integrated_gradients", model, PICTURES[:4], precision=precision, tolerance=1e-8, return_result=True
        )
        within = np.abs(result.gap) <= 1.01e-8 * np.abs(result.score - result.baseline_score)
        assert within.all() is np.bool_(is_met)
        for texts, is_within in zip(result.warnings, within, strict=True):
            assert any("tolerance=1e-08: rounding in float32 limits it" in text for text in texts) is not bool(
                is_within
            )


@pytest.mark.slow
def test_texts_and_several_inputs_in_float64() -> None:
    strings = np.array(["a great film", "dull", "not the dull film"], object)
    for model, xs in (
        (models.graph(models.text, mask_zero=False, strings=True), strings),
        (models.graph(models.two_inputs), {"numbers": np.ones((3, 4), np.float32), "ids": np.ones((3, 6), np.int32)}),
    ):
        result = dx.explain("gradient_x_input", model, xs, target=1, precision="float64", return_result=True)
        assert result.precision_error is not None
        assert (result.precision_error.examples, result.precision_error.worst < 1e-4) == (3, True)


def test_a_token_id_is_a_baseline_in_float64() -> None:
    xs = np.array([[2, 3, 1], [3, 3, 2]])
    options: dict[str, Any] = {"target": 1, "baseline": 1, "return_result": True}
    exact, result = (
        dx.explain("occlusion", models.graph(models.text), xs, precision=precision, **options)
        for precision in ("float32", "float64")
    )
    assert result.attributions.dtype == np.float64
    np.testing.assert_allclose(result.baseline_score, exact.baseline_score, rtol=1e-5)


def test_methods_are_ranked_in_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, run = set(), Explainer.run

    def run_and_see(self: Explainer, *arguments: Any, **options: Any) -> Any:
        seen.add((self.precision, self.graph.is_in_float64))
        return run(self, *arguments, **options)

    monkeypatch.setattr(Explainer, "run", run_and_see)
    dx.rank(
        models.graph(models.image), PICTURES[:2], methods=["saliency", "gradient_x_input"], measures=["deletion"],
        target=0, precision="float64",
    )  # fmt: skip
    assert seen == {("float64", True)}


def test_a_thread_is_not_overtaken_by_others_that_overlap(tf32: Any) -> None:
    """Threads that take turns in TF32 would keep one that needs float32 waiting for ever."""
    switch_of_process, entered, leave = precision_module._tf32, list[str](), threading.Event()
    first_entered = threading.Event()

    def compute(precision: str, name: str) -> None:
        with computing_in(precision):
            entered.append(name)
            if name == "first":
                first_entered.set()
                leave.wait(20)

    def start(precision: str, name: str) -> threading.Thread:
        thread = threading.Thread(target=compute, args=(precision, name))
        thread.start()
        return thread

    threads = [start("tf32", "first")]
    assert first_entered.wait(20)
    for precision, name in (("float32", "exact"), ("tf32", "late")):
        threads.append(start(precision, name))
        while not switch_of_process._waiting[precision == "tf32"] and "late" not in entered:
            time.sleep(0.001)
    leave.set()
    for thread in threads:
        thread.join(20)
    assert entered == ["first", "exact", "late"]


def test_ctrl_c_while_a_thread_waits_leaves_the_switch_as_it_was(tf32: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tf32(True)
    acquire, calls = precision_module._tf32._acquire, list[bool]()

    def interrupted(on: bool) -> None:
        calls.append(on)
        if len(calls) == 2:
            raise KeyboardInterrupt
        acquire(on)

    monkeypatch.setattr(precision_module._tf32, "_acquire", interrupted)
    with pytest.raises(KeyboardInterrupt), computing_in("tf32"), computing_in("float32"):
        pytest.fail("not interrupted")
    assert precision_module._tf32._holders == 0
    tf32(False)
    with computing_in("tf32"):
        assert switch_is_on()
    assert not switch_is_on()


def test_threads_that_check_one_model_do_not_wait_for_each_other(tf32: Any) -> None:
    """One of them checks the graph in float32, which must not begin while it keeps the others from leaving TF32."""
    explainer, held = dx.Explainer("saliency", dx.load_model(net())), threading.Barrier(3, timeout=20)
    inputs, checked = explainer.check(PICTURES), list[Explainer]()

    def check() -> None:
        with computing_in("tf32"):
            held.wait()
            checked.append(explainer.for_examples(inputs))

    threads = [threading.Thread(target=check, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert checked == [explainer] * 3


def test_a_text_longer_than_those_of_the_sample() -> None:
    texts = np.array([*["dull", "a great film"] * 4, "not the dull film not the dull film"], object)
    result = dx.explain(
        "saliency", models.graph(models.text, strings=True), texts, target=0, precision="float64", return_result=True
    )
    assert result.precision_error.examples == 8
    assert result.precision_error.worst < 1e-4


def test_the_background_of_float64_is_that_of_the_sample_in_float32() -> None:
    options: dict[str, Any] = {"target": 0, "background": PICTURES[:5], "baseline": "mean", "return_result": True}
    error = dx.explain("deeplift", models.graph(models.image), PICTURES, precision="float64", **options).precision_error
    assert error.worst < 1e-4


@pytest.mark.parametrize("strings", [False, True])
def test_a_model_that_half_precision_breaks_is_refused(strings: bool, has_half: None) -> None:
    """TensorFlow rewrites what an LSTM's loop computes, but not the lists that it reads."""
    xs: Any = np.array(["a dull film", "not"], object) if strings else np.array([[1, 2, 3], [2, 1, 1]])
    explainer = dx.Explainer("saliency", models.graph(models.text, strings=strings), precision="mixed")
    for explain in (explainer.predict, explainer.run, lambda xs: explainer.run(xs, target=0)):
        with pytest.raises(dx.UnsupportedModelError, match=r"precision='mixed': .* breaks this model \(.*bfloat16"):
            explain(xs)
