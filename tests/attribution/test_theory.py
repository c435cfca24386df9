"""Relations between the methods that theory predicts, on real nets, and broken twins that violate them.

Ancona et al. 2018 (arXiv 1711.06104) show when gradient-based methods coincide; Sundararajan et al. 2017 (arXiv
1703.01365) name the axioms.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import TABLE, find_method
from tb_deepexplain.graph.backward_rules import Rule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5)).astype(np.float64)
EVERY = [m.id for m in dx.methods()]
SUMMING = [m.id for m in dx.methods() if m.sums_to]


def net(activation: Any = "relu", bias: bool = True, inputs: int = 5, units: int = 2, seed: int = 0) -> keras.Model:
    """Three layers in double precision."""
    keras.utils.set_random_seed(seed)
    options = {"use_bias": bias, "bias_initializer": "normal", "dtype": "float64"}
    x = keras.Input((inputs,), dtype="float64")
    y = layers.Dense(16, activation, **options)(x)
    y = layers.Dense(12, activation, **options)(y)
    return keras.Model(x, layers.Dense(units, **options)(y))


def _explain(method: str, model: Any, x: np.ndarray = X, **options: Any) -> np.ndarray:
    params = {"integrated_gradients": {"tolerance": 1e-9, "max_evaluations": 20_000}, "epsilon_lrp": {"epsilon": 1e-12}}
    return np.asarray(dx.explain(method, model, x, **{"target": 0, **params.get(method, {}), **options}))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of a tolerance below rounding
def test_without_biases_relu_nets_have_one_explanation() -> None:
    model = net(bias=False)
    reference = _explain("gradient_x_input", model)
    for method in ("integrated_gradients", "epsilon_lrp", "deeplift"):
        np.testing.assert_allclose(_explain(method, model), reference, rtol=1e-6, atol=1e-9)
    with_bias = net(bias=True)
    for method in ("integrated_gradients", "deeplift"):  # and with biases they part
        assert abs(_explain(method, with_bias) - _explain("gradient_x_input", with_bias)).max() > 1e-2


def test_epsilon_lrp_becomes_gradient_times_input_as_epsilon_vanishes() -> None:
    model = net(bias=True)
    reference = _explain("gradient_x_input", model)
    errors = [abs(_explain("epsilon_lrp", model, epsilon=e) - reference).max() for e in (1e-4, 1e-6, 1e-8, 1e-10)]
    assert errors[-1] < 1e-6 * abs(reference).max()
    ratios = np.array(errors[:-1]) / errors[1:]
    assert ((ratios > 30) & (ratios < 300)).all(), errors  # a hundredth of ε, a hundredth of the difference


def test_epsilon_lrp_is_deeplift_only_without_offsets() -> None:
    same = net("tanh", bias=False)
    np.testing.assert_allclose(_explain("epsilon_lrp", same), _explain("deeplift", same), rtol=1e-6, atol=1e-9)
    for other in (net("sigmoid", bias=False), net("tanh", bias=True)):
        assert abs(_explain("epsilon_lrp", other) - _explain("deeplift", other)).max() > 1e-2


@pytest.mark.parametrize("method", [m.id for m in TABLE if m.signed])
def test_linear_models_are_weight_times_input(method: str) -> None:
    keras.utils.set_random_seed(1)
    x = keras.Input((5,), dtype="float64")
    model = keras.Model(x, layers.Dense(2, bias_initializer="normal", dtype="float64")(x))
    np.testing.assert_allclose(_explain(method, model), X * model.layers[-1].kernel.numpy()[:, 0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "gelu", "silu", "sigmoid"])
@pytest.mark.parametrize("method", SUMMING)
def test_completeness(method: str, activation: str) -> None:
    model, base = net(activation), np.linspace(-1, 1, 5)
    result = dx.explain(
        method,
        model,
        X,
        target=1,
        baseline=base,
        return_result=True,
        **({"tolerance": 1e-6, "max_evaluations": 20_000} if "integrated" in method else {}),
    )
    change = (np.asarray(model(X)) - np.asarray(model(base[None])))[:, 1]
    np.testing.assert_allclose(result.attributions.sum(1), change, rtol=2e-6, atol=1e-8)
    np.testing.assert_allclose(result.gap, result.attributions.sum(1) - change, atol=1e-8)


def _joined_paths(activation: str) -> keras.Model:
    """Skip connection, concatenation, batch norm with non-trivial statistics, average and global pooling."""
    keras.utils.set_random_seed(3)
    double = {"dtype": "float64"}
    options = {**double, "padding": "same", "bias_initializer": "normal"}
    norm = layers.BatchNormalization(**double)
    x = keras.Input((8, 8, 2), **double)
    a = layers.Activation(activation, **double)(norm(layers.Conv2D(4, 3, **options)(x)))
    a = layers.Add(**double)([a, layers.Conv2D(4, 1, activation=activation, **options)(x)])
    b = layers.AveragePooling2D(2, **double)(layers.Concatenate(**double)([a, x]))
    c = layers.GlobalAveragePooling2D(**double)(layers.Conv2D(5, 3, activation=activation, **options)(b))
    model = keras.Model(x, layers.Dense(2, **double)(c))
    norm.set_weights([RNG.uniform(0.5, 2, 4), RNG.normal(size=4), RNG.normal(size=4), RNG.uniform(0.5, 2, 4)])
    return model


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_steps_that_are_linear_keep_their_sums(activation: str) -> None:
    x = RNG.normal(size=(4, 8, 8, 2))
    model = _joined_paths(activation)
    result = dx.explain("deeplift", model, x, target=1, baseline=0.3, return_result=True)
    change = np.abs(result.score - result.baseline_score)
    assert (np.abs(result.gap) < 1e-9 * change).all() and (change > 0.01).all()
    if activation == "relu":  # and ε-LRP is gradient × input there, in the limit
        lrp, reference = _explain("epsilon_lrp", model, x), _explain("gradient_x_input", model, x)
        np.testing.assert_allclose(lrp, reference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", EVERY)
def test_a_feature_that_the_model_ignores_gets_nothing(method: str) -> None:
    model = net("tanh")
    kernel = model.layers[1].kernel
    kernel.assign(kernel * np.array([1, 1, 0, 1, 1])[:, None])
    actual = _explain(method, model, baseline=0.3) if find_method(method).sums_to else _explain(method, model)
    np.testing.assert_allclose(actual[:, 2], 0, atol=1e-12)
    assert abs(actual[:, [0, 1, 3, 4]]).min() > 1e-6


@pytest.mark.parametrize("method", [m.id for m in TABLE if m.signed])
def test_linearity_in_the_score(method: str) -> None:
    """The map of a weighted sum of outputs is the weighted sum of the maps; |∂f/∂x| is not linear."""
    model = net("tanh")
    options = {"steps": 16} if method == "integrated_gradients" else {}
    weights = np.broadcast_to([2.0, -0.5], (6, 2))
    both = dx.explain(method, model, X, ys=weights, **options)
    parts = [dx.explain(method, model, X, target=c, **options) for c in (0, 1)]
    np.testing.assert_allclose(both, 2 * parts[0] - 0.5 * parts[1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", [m.id for m in TABLE if not m.sampled])  # drawn; tested in the limit
def test_symmetric_features_share_alike(method: str) -> None:
    model = net("softplus")
    kernel = model.layers[1].kernel
    kernel.assign(tf.gather(kernel, [0, 1, 1, 3, 4]))
    x = X.copy()
    x[:, 2] = x[:, 1]
    actual = _explain(method, model, x, **({"tolerance": 1e-3} if method == "integrated_gradients" else {}))
    np.testing.assert_allclose(actual[:, 1], actual[:, 2], rtol=1e-7, atol=1e-10)


def _twins() -> tuple[Any, Any]:
    """One function written twice: tanh z is 2 σ(2z) − 1."""
    w = RNG.normal(size=(5, 4))
    spec = [tf.TensorSpec([None, 5], tf.float64)]

    @tf.function(input_signature=spec, autograph=False)
    def plain(x: Any) -> Any:
        return tf.reduce_sum(tf.tanh(x @ w), 1)

    @tf.function(input_signature=spec, autograph=False)
    def roundabout(x: Any) -> Any:
        return tf.reduce_sum(2 * tf.sigmoid(2 * (x @ w)) - 1, 1)

    return plain, roundabout


@pytest.mark.parametrize("method", EVERY)
def test_implementation_invariance(method: str) -> None:
    """Gradient and perturbation methods see only the function; backward rules see how it is written (P11)."""
    plain, roundabout = (
        _explain(method, model, target=None, **({} if method != "integrated_gradients" else {"steps": 32}))
        for model in _twins()
    )
    invariant = np.allclose(plain, roundabout, rtol=1e-6, atol=1e-9)
    assert invariant == (method != "epsilon_lrp")  # DeepLIFT sees differences, in which the −1 is not


def test_occlusion_of_one_feature_is_its_shapley_value_in_additive_games() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float64)], autograph=False)
    def additive(x: Any) -> Any:
        return tf.reduce_sum(tf.sin(x) + x**2, 1)

    exact = np.sin(X) + X**2
    for method in ("occlusion", "shapley_sampling", "integrated_gradients"):
        np.testing.assert_allclose(_explain(method, additive, target=None), exact, rtol=1e-7)


def test_deeplift_is_integrated_gradients_where_one_unit_is_not_linear() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float64)], autograph=False)
    def one_unit(x: Any) -> Any:
        return 3 * tf.tanh(x @ np.arange(1.0, 6)[:, None] / 5 - 0.2)[:, 0]

    deeplift, integrated = (_explain(m, one_unit, target=None) for m in ("deeplift", "integrated_gradients"))
    np.testing.assert_allclose(deeplift, integrated, rtol=1e-6)


def _function(of: Any, inputs: int = 2) -> Any:
    return tf.function(of, input_signature=[tf.TensorSpec([None, inputs], tf.float64)], autograph=False)


def test_where_inputs_are_multiplied_deeplift_is_not_complete_and_integrated_gradients_share_alike() -> None:
    x, product = np.array([[2.0, 3.0], [-1.0, 4.0]]), _function(lambda x: x[:, 0] * x[:, 1])
    halves = np.repeat(x.prod(1, keepdims=True) / 2, 2, 1)
    for method, options in {"integrated_gradients": {}, "shapley_sampling": {"samples": 2}}.items():
        np.testing.assert_allclose(_explain(method, product, x, target=None, **options), halves, rtol=1e-7)
    with pytest.raises(dx.UnsupportedModelError, match="product of two tensors"):
        _explain("deeplift", product, x, target=None)
    plain = dx.explain("deeplift", product, x, on_unsupported="gradient", return_result=True)  # as the original
    np.testing.assert_allclose(plain.attributions, 2 * halves)
    np.testing.assert_allclose(plain.gap, x.prod(1))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of a map of zeros
def test_of_a_maximum_each_method_tells_its_own_story() -> None:
    """max(x₁, x₂) as a ReLU net has it: occlusion sees what one alone could not make up for, Shapley shares by turns."""
    larger = _function(lambda x: x[:, 1] + tf.nn.relu(x[:, 0] - x[:, 1]))
    x = np.array([[2.0, 1.0], [1.0, 1.0]])
    expected = {
        "occlusion": [[1, 0], [0, 0]],  # either of two equal ones would do
        "shapley_sampling": [[1.5, 0.5], [0.5, 0.5]],
        "integrated_gradients": [[2, 0], [0, 1]],  # the winner takes all; of two equal ones, whom the kink's side names
    }
    for method, maps in expected.items():
        options = {"samples": 2} if method == "shapley_sampling" else {}
        np.testing.assert_allclose(_explain(method, larger, x, target=None, **options), maps, atol=1e-6, err_msg=method)


# Saboteurs: rules with one thing wrong. A property above must distinguish each from the real one.


def _sabotaged(monkeypatch: pytest.MonkeyPatch, method: str, multiplier: Any) -> np.ndarray:
    module = sys.modules[f"tb_deepexplain.attribution.methods.{method}"]  # the package has the function by that name
    monkeypatch.setattr(module, "Rule", lambda name, _, *rest, **options: Rule(name, multiplier, *rest, **options))
    return _explain(method, net("tanh"), target=1)


@pytest.mark.filterwarnings("ignore:.*the completeness gap")
@pytest.mark.parametrize(
    "multiplier",
    [
        lambda a: a.derivative(a.z),  # the plain gradient
        lambda a: a.y / a.z,  # no reference
        lambda a: (a.y - a.y_reference) / a.z,
        lambda a: a.derivative((a.z + a.z_reference) / 2),  # always the middle
    ],
    ids=["plain gradient", "no reference", "half a reference", "always the middle"],
)
def test_broken_rescale_rules_are_not_complete(multiplier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net("tanh")
    change = (np.asarray(model(X)) - np.asarray(model(np.zeros((1, 5)))))[:, 1]
    np.testing.assert_allclose(_explain("deeplift", model, target=1).sum(1), change, rtol=1e-9)
    broken = _sabotaged(monkeypatch, "deeplift", multiplier)
    assert abs(broken.sum(1) - change).max() > 1e-2
