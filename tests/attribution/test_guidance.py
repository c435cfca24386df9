"""Warnings and errors say what is wrong, where, and what to do."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import find_method
from tests import models
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(4, 8, 8, 3)).astype(np.float32)


def _warnings(method: str, model: Any, xs: Any, **options: Any) -> list[list[str]]:
    return dx.explain(method, model, xs, return_result=True, **options).warnings


def _dead() -> keras.Model:
    """Its second ReLU is off for inputs below one, on above."""
    x = keras.Input((3,))
    y = layers.Dense(4, "relu", name="first")(x)
    y = layers.ReLU(name="gate")(layers.Dense(4, name="second")(y))
    model = keras.Model(x, layers.Dense(2, name="head")(y))
    for name, kernel, bias in (("first", 1.0, 1.0), ("second", 1.0, -32.0), ("head", 1.0, 0.5)):
        layer = model.get_layer(name)
        layer.set_weights([np.full(layer.kernel.shape, kernel), np.full(layer.bias.shape, bias)])
    return model


@pytest.mark.parametrize("method", ["saliency", "gradient_x_input", "integrated_gradients", "epsilon_lrp"])
def test_dead_relus_are_named(method: str) -> None:
    xs = np.array([[0.5, 0.5, 0.5], [5, 5, 5]], np.float32)
    dead, alive = _warnings(method, _dead(), xs, target=0)
    assert dead == [
        (
            "the map is zero everywhere: every unit of layer 'gate' is flat for this example (off or saturated) and "
            "lets no gradient through; "
            "occlusion may still show what the score depends on"
        )
    ]
    assert alive == []


def test_other_zero_maps_have_other_reasons() -> None:
    zeros = np.zeros((1, 8, 8, 3), np.float32)
    assert (
        "wherever the gradient is not zero, the input is zero"
        in _warnings("gradient_x_input", models.graph(models.image), zeros)[0][0]
    )
    assert "or equals the baseline" in _warnings("deeplift", models.graph(models.image), zeros + 1, baseline=1.0)[0][0]
    assert (
        "removing features does not change the score"
        in _warnings("occlusion", _dead(), np.zeros((1, 3)), target=0)[0][0]
    )
    flat = tf.function(lambda x: tf.sign(x) * 2 + 0 * x, input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    assert "is flat for this example (off or saturated)" in _warnings("saliency", flat, np.ones((1, 3)))[0][0]


def test_where_the_gradient_ends_is_named() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="a")] * 2)
    def model(a: Any, b: Any) -> Any:
        return tf.reduce_sum(a, 1) + tf.cast(tf.argmax(b, 1, name="choice"), tf.float32)

    xs = [np.ones((2, 3), np.float32)] * 2
    with pytest.raises(
        dx.UnsupportedModelError, match=r"it ends at choice \(ArgMax\).*inputs='embedding'.*use occlusion"
    ):
        dx.explain("saliency", model, xs)  # a map of zeros would say that b does not matter
    first, second = dx.explain("occlusion", model, [xs[0], xs[1] * [3, 2, 1]])
    assert first.any() and second.any()


def test_tensors_without_the_batch_first_cannot_be_explained() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 6, 4], tf.float32, name="x")])
    def model(x: Any) -> Any:
        steps = tf.reshape(x, [-1, 4], name="steps")
        return tf.reduce_sum(tf.reshape(tf.tanh(steps), [-1, 24]), 1)

    with pytest.raises(
        dx.UnsupportedModelError, match=r"'steps:0' has shape \(12, 4\) for 2 examples.*batch as its first"
    ):
        dx.explain("gradient_x_input", model, np.ones((2, 6, 4), np.float32), inputs="steps:0")


def test_complex_numbers_are_explained_by_their_parts() -> None:
    weights = tf.complex(tf.constant([[1.0], [2.0]]), tf.constant([[-1.0], [0.5]]))

    def model(x: Any) -> Any:
        return tf.cast(x, tf.complex64) @ weights

    def score(z: Any) -> Any:
        return tf.abs(z[:, 0])

    function, x = (model, tf.TensorSpec([None, 2])), tf.constant([[1.0, 2.0], [-1.0, 0.3]])
    with pytest.raises(
        dx.UnsupportedModelError, match=r"holds complex numbers; explain a real number of them with score="
    ):
        dx.explain("saliency", function, x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        scores = score(model(x))
    assert_maps_close(dx.explain("gradient_x_input", function, x, score=score), x * tape.gradient(scores, x))

    def of_parts(real: Any, imaginary: Any) -> Any:  # of a model that takes complex numbers
        return tf.abs(tf.complex(real, imaginary) @ weights)

    parts = [x, x + 1]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        scores = of_parts(*parts)
    maps = dx.explain("gradient_x_input", (of_parts, [tf.TensorSpec([None, 2])] * 2), parts)
    for values, part, gradient in zip(maps, parts, tape.gradient(scores, parts), strict=True):
        assert_maps_close(values, part * gradient)


def test_probabilities_that_are_rounded_have_no_logits() -> None:
    model = (lambda x: tf.cast(tf.nn.softmax(x), tf.int32), tf.TensorSpec([None, 3]))
    with pytest.raises(dx.UnsupportedModelError, match="holds int32 values"):
        dx.explain("saliency", model, np.ones((2, 3), np.float32))


def test_baselines_and_seeds_that_mean_nothing_are_refused() -> None:
    model = (lambda x: tf.reduce_sum(x**2, 1), tf.TensorSpec([None, 3]))
    x = np.ones((2, 3), np.float32)
    for baseline, message in (
        (10**40, "which an input of float32 cannot hold"),
        (np.ma.masked_array(x[0], [True, False, False]), "a value is masked"),
    ):
        with pytest.raises(dx.ParameterError, match=message):
            dx.explain("integrated_gradients", model, x, baseline=baseline)
    with pytest.raises(dx.InputError, match="seed=None: expected a whole number"):
        dx.explain("shapley_sampling", model, x, seed=None)


def test_explaining_a_softmax_warns_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        explainer = dx.Explainer("saliency", models.graph(models.image), output="output")
        explainer.run(PICTURES, target=0)
        explainer.run(PICTURES, target=1)
    (message,) = [str(w.message) for w in caught if w.category is UserWarning]
    assert message.startswith("the explained output is a softmax")
    assert message.endswith(
        "logits=True explains the logits before it, and logits=False explains the softmax without this warning"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dx.Explainer("saliency", models.graph(models.image), output="output", logits=False)
        dx.Explainer("saliency", models.graph(models.image), output="output", logits=True)
        dx.Explainer("saliency", models.graph(models.image))
        dx.Explainer("saliency", models.image(activation="sigmoid"), output="output")


def test_nan_and_infinity_are_traced_to_their_source() -> None:
    xs = PICTURES.copy()
    xs[1, 0, 0, 0], xs[2, 3, 3, 1] = np.nan, np.inf
    texts = _warnings("gradient_x_input", models.graph(models.image), xs, target=0)
    assert [len(s) for s in texts] == [0, 1, 1, 0]
    assert texts[1] == ["the map holds NaN or infinity: so does the input"]
    texts = _warnings("saliency", models.graph(models.image), xs, target=0)  # oneDNN's ReLU makes zero of NaN
    assert [bool(s) for s in texts] == [False, True, True, False]
    assert all("the input holds NaN or infinity" in s[0] or "so does the input" in s[0] for s in texts[1:3])
    broken = models.image()
    kernel = broken.get_layer("conv").kernel
    kernel.assign(np.where(np.arange(6) == 2, np.nan, kernel))
    assert "so do the model's weights (" in _warnings("saliency", broken, PICTURES, target=0)[0][0]
    assert "conv" in _warnings("saliency", broken, PICTURES, target=0)[0][0]
    log = tf.function(lambda x: tf.math.log(x), input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    assert "so does the model's output" in _warnings("saliency", log, np.zeros((1, 3)))[0][0]
    assert "or at the baseline, overflows" in _warnings("integrated_gradients", log, np.ones((1, 3)))[0][0]
    assert (
        "or no window covers a feature"
        in _warnings("occlusion", models.graph(models.image), PICTURES, window_shape=(5, 5, 3), step=5)[0][0]
    )


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (np.zeros((2, 8, 8, 3)), "leave the batch dimension out"),
        (np.zeros((8, 8)), r"expected shape \(8, 8, 3\), one example of the input, got \(8, 8\)"),
        (np.full((8, 8, 3), np.inf), "holds NaN or infinity"),
        ("black", "baseline='black': expected numbers"),
        ({"picture": 0.0}, "baseline: got picture; expected the explained inputs image"),
        ([[1, 2], [3]], "expected numbers"),
    ],
)
def test_baselines_that_do_not_fit_are_refused(baseline: Any, message: str) -> None:
    for method in ("integrated_gradients", "deeplift", "occlusion"):
        with pytest.raises(dx.ParameterError, match=message):
            dx.explain(method, models.graph(models.image), PICTURES, baseline=baseline)


def test_baselines_of_several_inputs_go_by_name_or_order() -> None:
    xs = {"numbers": RNG.normal(size=(3, 4)), "ids": RNG.integers(0, 10, (3, 6))}
    model = models.two_inputs()
    by_name = {"numbers": np.arange(4.0), "ids": np.full((6, 5), 0.1)}
    explainer = dx.Explainer("deeplift", model, target=0, baseline=by_name)
    order = [by_name[name] for name in explainer.submodel.cut.names]
    actual, expected = explainer.run(xs), dx.explain("deeplift", model, xs, target=0, baseline=order)
    for name in xs:
        np.testing.assert_array_equal(actual[name], expected[name])
    with pytest.raises(dx.ParameterError, match="2 inputs are explained"):
        dx.explain("deeplift", model, xs, target=0, baseline=np.zeros(4))


def test_token_ids_out_of_range_are_refused() -> None:
    explainer = dx.Explainer("saliency", models.graph(models.text))
    for ask in (explainer.run, explainer.predict):
        with pytest.raises(dx.InputError, match="got token ids from 3 to 8; the embedding has 8 rows, numbered from 0"):
            ask(np.array([[3, 8]]))


def test_a_gap_above_the_tolerance_is_a_warning() -> None:
    hard, easy = (
        _warnings(
            "integrated_gradients",
            models.graph(models.image, activation=None),
            PICTURES,
            target=0,
            max_evaluations=n,
            tolerance=1e-4,
        )
        for n in (3, 512)
    )
    assert all(
        s == ["the completeness gap is above tolerance=0.0001 after max_evaluations=3; allow more"] for s in hard
    )
    assert not any(easy)


@pytest.mark.parametrize("switch", [{"logits": "a"}, {"jit": "no"}, {"check_model": None}, {"check_batch": 2}])
def test_switches_are_true_or_false(switch: dict[str, Any]) -> None:
    (name,) = switch
    with pytest.raises(dx.ParameterError, match=f"{name}=.*: expected True or False"):
        dx.Explainer("saliency", models.graph(models.image), **switch)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deep_lft", "unknown method 'deep_lft'; did you mean deeplift"),
        ("integrated_gradient", "did you mean integrated_gradients"),
        (["saliency"], "expected the name of a method, got list"),
        ("", "known: saliency"),
    ],
)
def test_unknown_methods_suggest_similar_ones(name: Any, message: str) -> None:
    with pytest.raises(dx.UnknownMethodError, match=message):
        dx.Explainer(name, models.graph(models.image))


def test_methods_are_found_by_the_names_that_people_use() -> None:
    names = {
        "integrated_gradients": ["ig", "IG", "Integrated Gradients", "integrated-gradients", "intgrad"],
        "saliency": ["vanilla gradient", "gradient", "Saliency"],
        "gradient_x_input": ["grad*input", "Gradient x Input", "input*gradient"],
        "epsilon_lrp": ["lrp", "e-LRP"],
        "deeplift": ["DeepLIFT", "deep_lift"],
        "shapley_sampling": ["shapley", "Shapley values"],
    }
    for method, spellings in names.items():
        assert {find_method(name).id for name in spellings} == {method}


def test_the_model_may_come_first(tmp_path: Path) -> None:
    model = models.image()
    maps = dx.explain("saliency", model, PICTURES)
    for arguments in ((model, PICTURES, "saliency"), (model, "saliency", PICTURES)):
        np.testing.assert_array_equal(dx.explain(*arguments), maps)
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(dx.explain(str(tmp_path / "m.keras"), PICTURES, "saliency"), maps, atol=1e-6)
    np.testing.assert_array_equal(dx.Explainer(model, "saliency").run(PICTURES), maps)
    first, second = (
        dx.evaluate(*arguments, ["sensitivity_n"])["sensitivity_n"].value
        for arguments in (("saliency", model, PICTURES), (model, PICTURES, "saliency"))
    )
    np.testing.assert_array_equal(first, second)
    order = r"the model comes first; the order is explain\(method, model, xs\), with the name of a method"
    with pytest.raises(dx.ParameterError, match=order):
        dx.explain(model, PICTURES)
    with pytest.raises(dx.ParameterError, match=r"the order is Explainer\(method, model\)"):
        dx.Explainer(model)
    with pytest.raises(dx.ParameterError, match="the model is missing"):
        dx.explain("saliency")
    with pytest.raises(dx.InputError, match="xs is missing"):
        dx.explain("saliency", model)
    with pytest.raises(dx.ParameterError, match="xs or measures are missing"):
        dx.evaluate("saliency", model, PICTURES)


def test_several_methods_give_a_dict() -> None:
    model = models.image()
    several = dx.explain(["saliency", "ig"], model, PICTURES, return_result=True)
    assert list(several) == ["saliency", "ig"]
    for name, result in several.items():
        alone = dx.explain(name, model, PICTURES, return_result=True)
        assert_maps_close(result.attributions, alone.attributions)
        np.testing.assert_array_equal(result.target, alone.target)
    with_parameters = dx.explain({"ig": {"steps": 3}, "saliency": {}}, model, PICTURES, return_result=True)
    assert (
        with_parameters["ig"].evaluations == dx.explain("ig", model, PICTURES, steps=3, return_result=True).evaluations
    ).all()
    with pytest.raises(dx.ParameterError, match="steps: of which of several methods"):
        dx.explain(["ig", "saliency"], model, PICTURES, steps=3)


def test_a_score_that_is_not_finite_is_said_to_be_so() -> None:
    x = keras.Input((2,))
    model = keras.Model(
        x, keras.layers.Lambda(lambda t: keras.ops.log(keras.ops.relu(t[:, :1]) - 1), output_shape=(1,))(x)
    )
    xs = np.array([[3.0, 1.0], [0.5, 1.0], [-1.0, 1.0], [1.0, 1.0]], np.float32)
    for method in ("saliency", "gradient_x_input", "integrated_gradients", "occlusion"):
        fine, *others = _warnings(method, model, xs)
        assert not any("explains nothing" in text for text in fine)
        for texts in others:
            assert any("NaN" in text or "infinite" in text for text in texts), (method, texts)
            assert not any("zero everywhere" in text or "flat" in text for text in texts)


def test_without_a_result_warnings_are_user_warnings() -> None:
    xs = PICTURES.copy()
    xs[1] = np.nan
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        dx.explain("gradient_x_input", models.graph(models.image), xs, target=0)
        dx.explain(["gradient_x_input", "saliency"], models.graph(models.image), xs, target=0)
        dx.Explainer("gradient_x_input", models.graph(models.image), target=0).run(xs)
        dx.evaluate(
            "gradient_x_input", models.graph(models.image), (PICTURES, None, np.ones(4)), ["completeness"], target=0
        )
    texts = [str(warning.message) for warning in raised]
    assert sum(text.startswith("1 of 4 examples: ") and "NaN" in text for text in texts) == 4
    assert sum(text.startswith("4 of 4 examples: the sample weight") for text in texts) == 1
    assert {warning.filename for warning in raised} == {__file__}  # the caller's line, however deep it was noticed


def test_the_input_that_is_not_finite_is_named() -> None:
    xs = {"numbers": np.ones((2, 4), np.float32), "ids": np.ones((2, 6), np.int32)}
    xs["numbers"][1, 2] = np.nan
    texts = _warnings("gradient_x_input", models.graph(models.two_inputs), xs, target=0)
    assert texts == [[], ["the map holds NaN or infinity: so does the input numbers"]]


def test_target_and_weights_exclude_each_other() -> None:
    with pytest.raises(dx.InputError, match="both ys and target"):
        dx.explain("saliency", models.graph(models.image), PICTURES, target=1, ys=np.ones((4, 3)))


def test_tensors_and_layers_are_named() -> None:
    model = models.image()
    with pytest.raises(dx.ParameterError, match=r"output: got .*; give the name of a layer or tensor; its name is"):
        dx.explain("saliency", model, PICTURES, output=model.layers[-2].output)
    with pytest.raises(dx.ParameterError, match=r"inputs: got Conv2D; .* its name is 'conv'"):
        dx.explain("saliency", model, PICTURES, inputs=model.get_layer("conv"))
    with pytest.raises(dx.ParameterError, match="that goes to run"):
        dx.Explainer("saliency", model, batch_size=3)


def test_an_axis_of_one_may_be_left_out_as_keras_does() -> None:
    x = keras.Input((1,), dtype="string")
    ids = keras.layers.TextVectorization(vocabulary=["a", "dull", "film"], output_sequence_length=3)(x)
    y = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(6, 3, embeddings_initializer="normal")(ids))
    explainer = dx.Explainer("saliency", keras.Model(x, keras.layers.Dense(2)(y)), target=1)
    actual, expected = (explainer.run(xs) for xs in (["a film", "dull"], [["a film"], ["dull"]]))
    np.testing.assert_array_equal(actual, expected)
    with pytest.raises(dx.InputError, match="a value is missing, in example 1; expected strings"):
        explainer.run(["a", None])


def test_a_window_of_one_number_has_whole_tokens() -> None:
    ids = np.array([[3, 4, 5, 2]])
    actual, expected = (
        dx.explain("occlusion", models.graph(models.text), ids, target=1, window_shape=w) for w in (2, (2, 5))
    )
    np.testing.assert_array_equal(actual, expected)
    with pytest.raises(dx.ParameterError, match="does not fit"):
        dx.explain("occlusion", models.graph(models.text), ids, target=1, window_shape=9)
    with pytest.raises(dx.ParameterError, match="does not fit"):
        dx.explain("occlusion", models.graph(models.image), PICTURES, target=1, window_shape=9)


def _picture_and_table() -> keras.Model:
    keras.utils.set_random_seed(2)
    picture, table = keras.Input((6, 6, 3), name="picture"), keras.Input((3,), name="table")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(picture), table])
    return keras.Model([picture, table], keras.layers.Dense(1, kernel_initializer="normal")(joined))


@pytest.mark.parametrize(
    "windows", [{"window_shape": (2, 2, 3), "step": 2}, {"window_shape": (2, 2), "step": (2, 2)}, {"window_shape": 4}]
)
def test_windows_are_those_of_the_inputs_that_have_such_axes(windows: dict[str, Any]) -> None:
    """A window of a picture says nothing of the numbers beside it, which are replaced one by one."""
    model, rng = _picture_and_table(), np.random.default_rng(0)
    xs = {"picture": rng.random((2, 6, 6, 3), np.float32), "table": rng.random((2, 3), np.float32)}
    result = dx.explain("occlusion", model, xs, target=None, return_result=True, **windows)
    weights = np.asarray(model.layers[-1].kernel)
    assert_maps_close(result.attributions["table"], xs["table"] * weights[-3:, 0])  # of a linear model
    alone = dx.explain("occlusion", model, xs, target=None, inputs="picture", **windows)
    np.testing.assert_array_equal(result.attributions["picture"], alone["picture"])
    with pytest.raises(dx.ParameterError, match="has 4 entries"):
        dx.explain("occlusion", model, xs, target=None, window_shape=(1, 1, 1, 1))
