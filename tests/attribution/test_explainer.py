"""Explainer: inputs are checked, results are complete, and a method is compiled once."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx
from tests import models
from tests.closeness import assert_maps_close

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(7, 8, 8, 3)).astype(np.float32)
IDS = np.array([[3, 4, 5, 0, 0], [2, 0, 0, 0, 0], [7, 6, 5, 4, 3]])


@pytest.fixture(scope="module")
def graph() -> dx.ModelGraph:
    return models.graph(models.image)


@pytest.mark.parametrize("method", [m.id for m in dx.methods()])
def test_results_are_complete_and_independent_of_the_batch(method: str, graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer(method, graph, **({"window_shape": (2, 2, 3), "step": 2} if method == "occlusion" else {}))
    targets = np.arange(7) % 3
    results = [
        explainer.run(PICTURES, target=targets, batch_size=size, return_result=True) for size in (1, 3, 64, None)
    ]
    outputs = explainer.predict(PICTURES).outputs
    for result in results:
        assert_maps_close(result.attributions, results[0].attributions)
        np.testing.assert_array_equal(result.evaluations, results[0].evaluations)
        assert_maps_close(result.score, outputs[np.arange(7), targets])
        np.testing.assert_array_equal(result.target, targets)
        assert result.attributions.dtype == np.float32
        assert result.tokens is None
        assert result.warnings == [[]] * 7
        change = result.score - result.baseline_score
        if explainer.method.sums_to:
            rounding = 1e-6 * (abs(result.attributions).sum((1, 2, 3)) + abs(result.score) + abs(result.baseline_score))
            assert (abs(result.gap - (result.attributions.sum((1, 2, 3)) - change)) <= rounding).all()
            assert (abs(result.gap) <= 0.01 * abs(change) + rounding).all()
        else:
            assert np.isnan(result.gap).all()


@pytest.mark.filterwarnings("ignore:.*the completeness gap")
def test_one_compilation_serves_every_batch(graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer("intgrad", graph, steps=3)
    traces = []
    compile_once = explainer._compile
    explainer._compile = lambda *a: traces.append(1) or compile_once(*a)  # type: ignore[method-assign,func-returns-value]
    for n, size in ((7, 3), (5, 64), (1, None), (7, 2)):
        explainer.run(PICTURES[:n], target=0, batch_size=size)
    assert len(traces) == 1


def test_targets_choose_units(graph: dx.ModelGraph) -> None:
    explainer = dx.Explainer("gradient_x_input", graph)
    one_hot = np.eye(3, dtype=np.float32)[np.full(7, 2)]
    assert_maps_close(explainer.run(PICTURES, target=2), explainer.run(PICTURES, ys=one_hot))
    assert_maps_close(explainer.run(PICTURES, target=None), sum(explainer.run(PICTURES, target=c) for c in range(3)))
    predicted = explainer.predict(PICTURES).classes
    result = explainer.run(PICTURES, target="predicted", return_result=True)
    np.testing.assert_array_equal(result.target, predicted)
    np.testing.assert_array_equal(
        dx.Explainer("gradient_x_input", graph, target="predicted").run(PICTURES), result.attributions
    )


def test_a_single_unit_is_number_0() -> None:
    explainer = dx.Explainer("saliency", models.image(classes=1, activation="sigmoid"))
    predictions = explainer.predict(PICTURES)
    np.testing.assert_array_equal(predictions.classes, (predictions.probabilities[:, 0] > 0.5).astype(int))
    np.testing.assert_array_equal(explainer.run(PICTURES, target="predicted", return_result=True).target, np.zeros(7))


def test_texts_are_explained_by_token_without_their_padding() -> None:
    explainer = dx.Explainer("occlusion", models.graph(models.text, strings=True))
    strings = ["a great film", "dull", "not the dull film"]
    together = explainer.run(strings, target=1, return_result=True)
    assert together.tokens.shape == (3, 4)
    assert together.evaluations.tolist() == [4, 2, 5]  # one window a token, and the whole; padding costs nothing
    alone = explainer.run(strings, target=1, return_result=True, batch_size=1)
    assert alone.tokens.shape == (3, 4)
    assert_maps_close(alone.tokens, together.tokens)


def test_masks_follow_each_point_of_a_batch_of_raw_strings() -> None:
    """A batch of two points holds one example twice; its mask must be as long as in the batch it came from."""
    strings = ["dull", "a great film", "not the dull film"]
    explainer = dx.Explainer("intgrad", models.graph(models.text, strings=True))
    actual, reference = (explainer.run(strings, target=1, batch_size=n, return_result=True).tokens for n in (2, 64))
    assert_maps_close(actual, reference)


def test_structure_follows_the_caller() -> None:
    numbers, ids = RNG.normal(size=(2, 4)), RNG.integers(0, 10, (2, 6))
    by_name = dx.explain("saliency", models.graph(models.two_inputs), {"numbers": numbers, "ids": ids}, target=0)
    assert list(by_name) == ["numbers", "ids"]
    turned = dx.explain("saliency", models.graph(models.two_inputs), {"ids": ids, "numbers": numbers}, target=0)
    assert list(turned) == ["ids", "numbers"]
    np.testing.assert_array_equal(turned["ids"], by_name["ids"])
    model = models.two_inputs(by_name=False)
    for sequence in (list, tuple):
        maps = dx.explain("saliency", model, sequence([ids, numbers]), target=0)
        assert isinstance(maps, sequence)
        assert [a.shape for a in maps] == [by_name[name].shape for name in ("ids", "numbers")]
    image = models.image()
    assert isinstance(dx.explain("saliency", image, [PICTURES], target=0), list)
    assert isinstance(dx.explain("saliency", image, PICTURES.tolist(), target=0), np.ndarray)


def test_no_examples_give_empty_results(graph: dx.ModelGraph) -> None:
    result = dx.explain("saliency", graph, PICTURES[:0], target=0, return_result=True)
    assert result.attributions.shape == (0, 8, 8, 3)
    assert result.warnings == []


def test_maps_that_are_zero_or_not_finite_have_warnings(graph: dx.ModelGraph) -> None:
    xs = PICTURES.copy()
    xs[1] = 0
    xs[2, 0, 0, 0] = np.nan
    warnings = dx.explain("gradient_x_input", graph, xs, target=0, return_result=True).warnings
    assert [bool(w) for w in warnings] == [False, True, True, False, False, False, False]
    assert "zero everywhere" in warnings[1][0]
    assert "NaN" in warnings[2][0]


@pytest.mark.parametrize(
    ("xs", "options", "message"),
    [
        (PICTURES[0], {}, r"one example without the batch dimension; give xs\[None\]"),
        (PICTURES[..., :1], {}, r"image: float32 \[\?, 8, 8, 3\]: got an array of shape \(7, 8, 8, 1\)"),
        (np.array(["a", "b"]), {}, r"got text \('a'\); expected numbers"),
        ({"picture": PICTURES}, {}, "xs has the inputs picture; the model takes image"),
        ([[1, 2], [3]], {}, "differ in shape"),
        (PICTURES, {"target": 3}, "target=3: the output has 3 units, numbered from 0"),
        (PICTURES, {"target": -1}, "target=-1"),
        (PICTURES, {"target": [0, 1]}, r"target: got shape \(2,\)"),
        (PICTURES, {"target": 1.5}, "expected class numbers, got float64"),
        (PICTURES, {"target": "label"}, "target='label'"),
        (PICTURES, {"target": 1, "ys": np.ones((7, 3))}, "both ys and target"),
        (PICTURES, {"ys": np.ones((6, 3))}, "expected 7 rows"),
        (PICTURES, {"ys": np.full((7, 3), np.nan)}, "ys: holds NaN"),
        (PICTURES, {"ys": np.ones((7, 2))}, r"ys: got weights of shape \(2,\)"),
        (PICTURES, {"batch_size": 0}, "batch_size=0"),
        (PICTURES, {"batch_size": 2.5}, "batch_size=2.5"),
        (PICTURES, {"batch_size": "3"}, "batch_size='3'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    xs: Any, options: dict[str, Any], message: str, graph: dx.ModelGraph
) -> None:
    with pytest.raises(dx.InputError, match=message):
        dx.Explainer("saliency", graph).run(xs, **options)


def test_several_inputs_are_counted() -> None:
    explainer = dx.Explainer("saliency", models.graph(models.two_inputs))
    with pytest.raises(dx.InputError, match="by name: give a dict with one array for each"):
        explainer.run(np.ones((2, 4)))
    with pytest.raises(dx.InputError, match="same number of examples, got"):
        explainer.run({"numbers": np.ones((2, 4)), "ids": np.ones((3, 6), int)})
    with pytest.raises(dx.InputError, match="one array; the model takes"):
        dx.explain("saliency", models.two_inputs(by_name=False), np.ones((2, 4)))


def test_errors_form_one_tree() -> None:
    for error in (dx.UnknownMethodError, dx.ParameterError, dx.InputError):
        assert issubclass(error, dx.DeepExplainError)
        assert issubclass(error, ValueError)
    for error in (dx.UnsupportedModelError, dx.StoreError):
        assert issubclass(error, dx.DeepExplainError)


def test_the_public_names_are_those_of_the_package() -> None:
    assert dir(dx) == sorted(dx.__all__)
    assert len(set(dx.__all__)) == len(dx.__all__)
    for name in dx.__all__:
        value = getattr(dx, name)
        assert name == "__version__" or (not name.startswith("_") and value.__module__.startswith("tb_deepexplain."))
    assert set(dx.__all__) == {*dx._HOME, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dx.nothing


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, tb_deepexplain as dx; assert sorted(dx.__all__) == dir(dx)\n"
        "heavy = {'tensorflow', 'keras', 'apache_beam', 'numpy', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in dx.__all__: getattr(dx, name)\n"
        "assert len(dx.methods()) == len(dx.methods()) > 0"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_result_shows_its_shapes_and_not_its_arrays() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(40, 8, 8, 3))
    shown = repr(dx.explain("integrated_gradients", models.graph(models.image), pictures, target=1, return_result=True))
    assert re.fullmatch(
        r"Result\(integrated_gradients of 40 examples: attributions \[40, 8, 8, 3\], target 1, largest gap \d[^,]*\)",
        shown,
    ), shown
    xs = {"numbers": rng.normal(size=(2, 4)), "ids": rng.integers(1, 10, (2, 6))}
    shown = repr(dx.explain("saliency", models.graph(models.two_inputs), xs, target=[0, 1], return_result=True))
    shapes = r"\{'numbers': \[2, 4\], 'ids': \[2, 6, \d+\]\}"
    assert re.search(rf"saliency of 2 examples: attributions {shapes}, target \[0, 1\]\)", shown), shown
    nan = dx.explain("saliency", models.graph(models.image), pictures * np.nan, target=None, return_result=True)
    assert re.search(r"target the sum of all units, warnings of 40 examples\)", repr(nan)), nan


@pytest.mark.parametrize("method", [m.id for m in dx.methods()])
def test_an_output_with_other_rows_than_the_examples_is_refused(method: str) -> None:
    weights = tf.constant(RNG.normal(size=(4, 3)).astype(np.float32))

    class Steps(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 5, 4])])
        def __call__(self, x: Any) -> Any:
            return tf.reshape(tf.tanh(x, name="hidden") @ weights, [-1, 3])

    explainer = dx.Explainer(
        method, dx.load_model(Steps()), target=0, inputs="hidden", check_model=False, check_batch=False
    )
    (name,) = explainer.submodel.entry_names
    with pytest.raises(dx.UnsupportedModelError, match=r"rows for \d examples"):
        explainer.run({name: RNG.normal(size=(2, 5, 4)).astype(np.float32)})
