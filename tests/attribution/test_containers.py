"""Examples in the containers that people hold them in give the maps of plain arrays, or are refused with the way out."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from keras import layers
from PIL import Image

import tb_deepexplain as dx
from tb_deepexplain.attribution import containers
from tb_deepexplain.attribution.containers import Unpacked, read_baseline
from tb_deepexplain.attribution.inputs import Inputs, check_unpacked
from tb_deepexplain.attribution.labels import read_labels
from tb_deepexplain.graph.input_spec import InputSpec
from tests import models

X = np.arange(12.0).reshape(4, 3)
LABELS = np.array([0, 1, 1, 0])
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
PEOPLE = pd.DataFrame({"age": [20, 30, 40], "name": ["ann", "bob", "cy"], "member": [True, False, True]})
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
PICTURE = Image.fromarray(PIXELS)
Dataset = tf.data.Dataset


def _table() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3,), name="x"), layers.Dense(4, "tanh"), layers.Dense(2)])


def _people() -> Callable[..., Any]:
    """A function of a float, a string and a boolean."""
    age, name = tf.TensorSpec([None], tf.float32, "age"), tf.TensorSpec([None], tf.string, "name")

    @tf.function(input_signature=[age, name, tf.TensorSpec([None, 1], tf.bool, "member")])
    def predict(age: Any, name: Any, member: Any) -> Any:
        length = tf.cast(tf.strings.length(name), tf.float32)
        return (age + length)[:, None] * tf.cast(member, tf.float32)

    return predict


@functools.cache
def _explainer(model: str) -> dx.Explainer:
    builders: dict[str, Callable[[], Any]] = {
        "table": _table,
        "text": models.text,
        "picture": models.image,
        "people": _people,
        "ids and numbers": models.two_inputs,
        "ids, then numbers": lambda: models.two_inputs(by_name=False),
    }
    method = "occlusion" if model == "people" else "saliency"
    return dx.Explainer(method, builders[model](), target=0, **{"inputs": "age"} if model == "people" else {})


def check(model: str, xs: Any) -> Inputs:
    return _explainer(model).check(xs)


def _by_rows(array: np.ndarray) -> Any:
    return (row for row in array)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FRAME,
        lambda: FRAME.astype("Int64"),
        lambda: FRAME.astype("float32").astype(object),
        lambda: FRAME.assign(b=pd.Categorical(FRAME["b"], categories=[10.0, 7.0, 4.0, 1.0])),
        lambda: FRAME.set_axis(["x", "y", "z"], axis=1),  # one of them is the name of the input
        lambda: list(FRAME.itertuples(index=False)),
        lambda: [row for _, row in FRAME.iterrows()],
        lambda: X.astype(object),
        lambda: X.astype(np.float16).tolist(),
        lambda: tf.constant(X),
        lambda: tf.cast(X, tf.bfloat16),
        lambda: tf.Variable(X),
        lambda: list(tf.constant(X)),
        lambda: tf.sparse.from_dense(X),
        lambda: tf.RaggedTensor.from_tensor(X),
        lambda: scipy.sparse.csr_matrix(X),
        lambda: scipy.sparse.coo_array(X),
        lambda: np.ma.masked_array(X, mask=False),
        lambda: Dataset.from_tensor_slices(X),
        lambda: Dataset.from_tensor_slices(X).batch(3),
        lambda: _by_rows(X),
        lambda: iter([X[:3], X[3:]]),
        lambda: _Batches(X),
        lambda: _ForeignTensor(),
        lambda: [_ForeignTensor(row) for row in X],
    ],
)
def test_a_matrix_may_be_held_in_anything(make: Callable[[], Any]) -> None:
    inputs = check("table", make())
    assert inputs.is_bare or inputs.structure == "list"
    np.testing.assert_array_equal(inputs.arrays[0].reshape(X.shape), X)
    assert inputs.arrays[0].dtype == np.float32
    assert inputs.notes == ()


class _ForeignTensor:
    """As PyTorch's: an array for NumPy, and iterable."""

    def __init__(self, values: np.ndarray = X) -> None:
        self._values, self.shape, self.dtype = values, values.shape, "torch.float64"

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._values.copy()

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, i: Any) -> Any:
        return self._values[i]


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of two by number, as Keras' fit takes them."""

    def __init__(self, x: np.ndarray, y: np.ndarray | None = None) -> None:
        super().__init__()
        self._x, self._y = x, y

    def __len__(self) -> int:
        return len(self._x) // 2

    def __getitem__(self, i: int) -> Any:
        rows = slice(2 * i, 2 * i + 2)
        return self._x[rows] if self._y is None else (self._x[rows], self._y[rows])


@pytest.mark.parametrize(
    "make",
    [
        lambda: (X, LABELS),
        lambda: (X, np.eye(2)[LABELS]),
        lambda: (X, LABELS.astype(float)[:, None], np.ones(4)),
        lambda: (FRAME, pd.Series(LABELS)),
        lambda: (X.tolist(), LABELS.tolist()),
        lambda: Dataset.from_tensor_slices((X, LABELS)).batch(3),
        lambda: Dataset.from_tensor_slices((X, tf.one_hot(LABELS, 2))),
        lambda: Dataset.from_tensor_slices((X, LABELS, np.ones(4))).batch(2),
        lambda: Dataset.from_tensor_slices(({"x": X}, LABELS)).batch(3),
        lambda: zip(X, LABELS, strict=True),
        lambda: ((row, [label]) for row, label in zip(X.tolist(), LABELS, strict=True)),
        lambda: (Dataset.from_tensor_slices(X), LABELS),
        lambda: _Batches(X, LABELS[:, None]),
    ],
)
def test_pairs_of_examples_and_labels(make: Callable[[], Any]) -> None:
    inputs = check("table", make())
    np.testing.assert_array_equal(inputs.arrays[0], X)
    np.testing.assert_array_equal(read_labels(inputs.labels, inputs.n).array, LABELS)


def test_labels_that_came_with_the_examples_are_explained_as_target_label() -> None:
    explainer = dx.Explainer("gradient_x_input", _table())
    expected = explainer.run(X, target=LABELS)
    pairs = Dataset.from_tensor_slices((X, tf.one_hot(LABELS, 2))).batch(3)
    np.testing.assert_array_equal(explainer.run(pairs, target="label"), expected)
    with pytest.warns(UserWarning, match="labels that came with xs are not explained; target='label'"):
        explainer.run(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer.run(pairs, target=1)
    with pytest.raises(dx.InputError, match="target='label': xs came without labels"):
        explainer.run(X, target="label")
    measured = dx.evaluate("saliency", _table(), zip(X, LABELS, strict=True), ["completeness"], target="label")
    of_arrays = dx.evaluate("saliency", _table(), X, ["completeness"], target=LABELS)
    np.testing.assert_array_equal(measured["completeness"].value, of_arrays["completeness"].value)


def _two_outputs() -> keras.Model:
    x = keras.Input((3,), name="x")
    return keras.Model(x, [keras.layers.Dense(2, name="kind")(x), keras.layers.Dense(1, name="size")(x)])


@pytest.mark.parametrize("n", [2, 4])
def test_a_list_of_labels_for_each_output_is_not_taken_for_labels_of_one(n: int) -> None:
    model, sizes = _two_outputs(), np.array([0, 1, 1, 0])
    explainer = dx.Explainer("gradient_x_input", model, output="kind", target="label")
    expected = dx.explain("gradient_x_input", model, X[:n], output="kind", target=LABELS[:n])
    np.testing.assert_array_equal(explainer.run((X[:n], {"kind": LABELS[:n], "size": sizes[:n]})), expected)
    np.testing.assert_array_equal(explainer.run((X[:n], LABELS[:n].tolist())), expected)
    np.testing.assert_array_equal(explainer.run((X[:n], np.eye(2)[LABELS[:n]])), expected)
    for pairs in (
        (X[:n], [LABELS[:n], sizes[:n]]),
        (X[:n], [LABELS[:n].tolist(), sizes[:n].tolist()]),
        iter([(X[:n], [LABELS[:n], sizes[:n]])]),
        iter([(X[i : i + 2], [LABELS[i : i + 2], sizes[i : i + 2]]) for i in range(0, n, 2)]),
        ((row, [label, size]) for row, label, size in zip(X[:n], LABELS, sizes, strict=False)),
    ):
        with pytest.raises(dx.InputError, match="labels of several outputs; give them as a dict by output"):
            explainer.run(pairs)


def test_labels_of_another_output_are_not_taken() -> None:
    explainer = dx.Explainer("gradient_x_input", _two_outputs(), output="kind", target="label")
    with pytest.raises(dx.InputError, match="xs came with labels of size, and kind is explained"):
        explainer.run((X[:2], {"size": np.array([0, 1])}))


def test_labels_of_positions_and_several_labels_are_refused_with_the_way_out() -> None:
    x = keras.Input((5, 3))
    explainer = dx.Explainer("gradient_x_input", keras.Model(x, keras.layers.Dense(2)(x)), target="label")
    xs = np.ones((4, 5, 3), np.float32)
    with pytest.raises(dx.InputError, match=r"labels: got shape \(4, 5\), labels of positions; .* give target=k, or"):
        explainer.run((xs, np.zeros((4, 5), int)))
    with pytest.raises(dx.InputError, match=r"labels: got several classes for each example; .* ys= takes weights of"):
        dx.explain("gradient_x_input", _table(), (X, np.ones((4, 2), int)), target="label")


@pytest.mark.parametrize(
    "make",
    [
        lambda: (X, LABELS, np.ones(4)),
        lambda: Dataset.from_tensor_slices((X, LABELS, np.ones(4))).batch(3),
        lambda: (Dataset.from_tensor_slices(X), LABELS, np.ones(4)),
        lambda: ((row, None, 1.0) for row in X),
    ],
)
def test_it_is_said_that_sample_weights_are_not_used(make: Callable[[], Any]) -> None:
    result = dx.explain("gradient_x_input", _table(), make(), target=1, return_result=True)
    np.testing.assert_array_equal(result.attributions, dx.explain("gradient_x_input", _table(), X, target=1))
    for texts in result.warnings:
        assert [text for text in texts if text.startswith("the sample weight is not used")] == texts
    with pytest.warns(UserWarning, match="4 of 4 examples: the sample weight is not used"):
        dx.evaluate("gradient_x_input", _table(), make(), ["completeness"], target=1)


def test_a_generator_is_read_once_for_all_methods_and_measures() -> None:
    ranking = dx.rank(
        _table(),
        zip(X, LABELS, strict=True),
        target="label",
        methods=["saliency", "gradient_x_input"],
        measures={"deletion": {"steps": 2}},
    )
    assert ranking.examples == 4
    once = {"occlusion": {}, "ig": {"baseline": "mean"}}
    maps = dx.explain(once, _table(), iter(X + 1), background=iter(X))
    for method, parameters in once.items():
        np.testing.assert_array_equal(maps[method], dx.explain(method, _table(), X + 1, background=X, **parameters))


@pytest.mark.parametrize(
    "xs",
    [
        PEOPLE,
        PEOPLE.astype({"age": "Int64", "name": "string", "member": "boolean"}),
        PEOPLE.astype(object),
        PEOPLE.astype({"name": "category", "member": "category"}),
        PEOPLE.astype({"member": int}),
        PEOPLE.astype({"member": float}),
        PEOPLE.to_dict("records"),
        PEOPLE.to_dict("list"),
        dict(PEOPLE),
        {name: PEOPLE[[name]] for name in PEOPLE},
        (PEOPLE, [0, 1, 0]),
        Dataset.from_tensor_slices(dict(PEOPLE)),
        Dataset.from_tensor_slices((dict(PEOPLE), [0, 1, 0])).batch(2),
    ],
)
def test_columns_of_mixed_types_go_to_inputs_by_name(xs: Any) -> None:
    inputs = check("people", xs)
    arrays = {spec.name: array for spec, array in zip(inputs.specs, inputs.arrays, strict=True)}
    np.testing.assert_array_equal(arrays["age"], np.array([20, 30, 40], np.float32))
    assert [text.decode() if isinstance(text, bytes) else text for text in arrays["name"]] == ["ann", "bob", "cy"]
    np.testing.assert_array_equal(arrays["member"], [[True], [False], [True]])
    assert arrays["member"].dtype == bool
    maps = _explainer("people").run(inputs, return_result=True).attributions
    np.testing.assert_array_equal(maps["age"], [20, 0, 40])


def test_several_inputs_by_order() -> None:
    ids, numbers = np.ones((4, 6), int), np.ones((4, 4), np.float32)
    dataset = Dataset.from_tensor_slices((ids, numbers))
    pairs = Dataset.zip(dataset, Dataset.from_tensor_slices(LABELS))
    for xs in ([ids, numbers], (ids, numbers), (ids, [list(row) for row in numbers]), dataset, dataset.batch(3)):
        inputs = check("ids, then numbers", xs)
        assert [array.shape for array in inputs.arrays] == [(4, 6), (4, 4)]
        assert inputs.labels is None
    for xs in (([ids, numbers], LABELS), ((ids, numbers), LABELS), pairs, pairs.batch(3)):
        inputs = check("ids, then numbers", xs)
        assert [array.shape for array in inputs.arrays] == [(4, 6), (4, 4)]
        np.testing.assert_array_equal(read_labels(inputs.labels, inputs.n).array, LABELS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [[3, 4, 5], [1], [5, 2]],
        lambda: pd.Series([[3, 4, 5], [1], [5, 2]]),
        lambda: [np.array([3, 4, 5]), np.array([1]), np.array([5, 2])],
        lambda: tf.ragged.constant([[3, 4, 5], [1], [5, 2]]),
        lambda: Dataset.from_tensor_slices(tf.ragged.constant([[3, 4, 5], [1], [5, 2]])).batch(2),
        lambda: Dataset.from_tensor_slices(tf.ragged.constant([[3, 4, 5], [1], [5, 2]])),
        lambda: iter([np.array([[3, 4, 5]]), np.array([[1, 0], [5, 2]])]),
        lambda: (row for row in [[3, 4, 5], [1], [5, 2]]),
        lambda: ([[3, 4, 5], [1], [5, 2]], [0, 1, 0]),
    ],
)
def test_texts_of_unequal_lengths_are_padded_and_it_is_said(make: Callable[[], Any]) -> None:
    inputs = check("text", make())
    np.testing.assert_array_equal(inputs.arrays[0], [[3, 4, 5], [1, 0, 0], [5, 2, 0]])
    result = _explainer("text").run(inputs, target=0, return_result=True)
    padded = [any("padded at the end with 0" in text for text in texts) for texts in result.warnings]
    assert padded[0] is False and padded[1:] == [True, True]
    of_two = _explainer("text").run(inputs.take(np.array([2, 0])), target=0, return_result=True)
    assert [len(texts) for texts in of_two.warnings] == [1, 0]


def test_the_padding_id_is_that_of_the_models_configuration() -> None:
    class Transformer(keras.Model):  # type: ignore[misc]
        class config:  # noqa: N801
            pad_token_id = 1

    ids = keras.Input((None,), dtype="int64", name="input_ids")
    mask = keras.Input((None,), dtype="int64", name="attention_mask")
    y = layers.Embedding(8, 3)(ids) * keras.ops.cast(mask, "float32")[..., None]
    explainer = dx.Explainer(
        "saliency", Transformer({"input_ids": ids, "attention_mask": mask}, layers.Dense(2)(keras.ops.sum(y, 1)))
    )
    inputs = explainer.check({"input_ids": [[3, 4], [5]], "attention_mask": [[1, 1], [1]]})
    by_name = dict(zip([spec.name for spec in inputs.specs], inputs.arrays, strict=True))
    np.testing.assert_array_equal(by_name["input_ids"], [[3, 4], [5, 1]])
    np.testing.assert_array_equal(by_name["attention_mask"], [[1, 1], [1, 0]])
    assert any(
        text == "input_ids: padded at the end with 1 to the length of the longest example" for text, _ in inputs.notes
    )


def test_the_padding_id_is_that_of_the_models_mask() -> None:
    ids = keras.Input((None,), dtype="int64", name="ids")
    mask = keras.ops.cast(keras.ops.not_equal(ids, 7), "float32")[..., None]
    model = keras.Model(ids, layers.Dense(2)(keras.ops.sum(layers.Embedding(8, 3)(ids) * mask, 1)))
    explainer = dx.Explainer("occlusion", model, target=1)
    inputs = explainer.check([[3, 4], [5]])
    np.testing.assert_array_equal(inputs.arrays[0], [[3, 4], [5, 7]])
    padded = explainer.run(inputs, return_result=True)
    np.testing.assert_allclose(padded.attributions[1:, :1], explainer.run([[5]]), atol=1e-6)


def test_strings_of_unequal_numbers_are_padded() -> None:
    spec = InputSpec("words", "string", (None, None), "words")
    inputs = check_unpacked([spec], Unpacked([["a", "bc"], ["d"]]))
    np.testing.assert_array_equal(inputs.arrays[0], np.array([["a", "bc"], ["d", ""]], object))


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        (PICTURE, PIXELS[None]),
        ([PICTURE, PICTURE], np.stack([PIXELS, PIXELS])),
        (PICTURE.convert("RGBA"), PIXELS[None]),
        (PICTURE.convert("L"), np.repeat(np.asarray(PICTURE.convert("L"))[None, ..., None], 3, -1)),
        ([PICTURE.convert("P")], np.asarray(PICTURE.convert("P").convert("RGB"))[None]),
        (([PICTURE], [1]), PIXELS[None]),
        (PIXELS[None], PIXELS[None]),  # whole numbers are not scaled
    ],
)
def test_pictures_have_the_channels_of_the_model(xs: Any, expected: np.ndarray) -> None:
    (array,) = check("picture", xs).arrays
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, expected)
    (array,) = check("picture", (picture for picture in [PICTURE, PICTURE])).arrays
    np.testing.assert_array_equal(array, np.stack([PIXELS, PIXELS]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((None, 8, 8, 1), np.asarray(PICTURE.convert("L"))[None, ..., None]),
        ((None, 8, 8), np.asarray(PICTURE.convert("L"))[None]),
        ((None, None, None, 4), np.asarray(PICTURE.convert("RGBA"))[None]),
        ((None, 3, 8, 8), np.moveaxis(PIXELS, -1, 0)[None]),
    ],
)
def test_pictures_have_the_axes_of_the_model(shape: tuple[int | None, ...], expected: np.ndarray) -> None:
    model = tf.function(lambda x: tf.reduce_sum(x, range(1, len(shape))), [tf.TensorSpec(shape, tf.float32)])
    np.testing.assert_array_equal(dx.Explainer("saliency", model).check(PICTURE).arrays[0], expected)


def test_an_axis_of_one_is_added_as_keras_does() -> None:
    model = tf.function(lambda x: tf.reduce_sum(x, [1, 2, 3]), [tf.TensorSpec([None, 5, 4, 1], tf.float32)])
    explainer = dx.Explainer("saliency", model)
    assert explainer.run(np.ones((2, 5, 4))).shape == (2, 5, 4, 1)
    with pytest.raises(dx.InputError, match=r"one example without the batch dimension; give xs\[None\]"):
        explainer.run(np.ones((5, 4, 1)))
    with pytest.raises(
        dx.InputError, match=r"without the batch dimension and the last axis: give xs\[None, ..., None\]"
    ):
        explainer.run(np.ones((5, 4)))


def test_large_whole_numbers_that_a_float_rounds_are_said() -> None:
    large = 2**24 + 1
    xs = np.array([[1, 2, large - 1], [3, large, 5]])
    note = "float32 rounds large whole numbers: {} became 16777216"
    for held in (xs, xs.astype(float), pd.DataFrame(xs), pd.DataFrame(xs).astype("Int64"), xs.tolist()):
        ((text, applies),) = check("table", held).notes
        assert text in (note.format(large), note.format(float(large)))
        assert applies.tolist() == [False, True]
    for huge in (2**60 + 1, 2**63 + 1):  # nor can float64 hold them
        ((text, _),) = check("table", np.array([[1, 2, huge]], np.uint64)).notes
        assert f"{huge} became {huge - 1}" in text
    for exact in (xs - 1, xs + 0.5, xs * 2**30 - 2**30, xs.astype(np.float32), xs * 1e20):
        assert not check("table", exact).notes
    with pytest.raises(dx.InputError, match=r"holds 1e\+300, which float32 cannot hold"):
        check("table", [[1e300, 2, 3]])


def test_missing_values_of_floats_are_nan_and_said() -> None:
    for xs in (
        FRAME.astype("Int64").replace(4, pd.NA),
        np.ma.masked_equal(X, 4),
        list(np.ma.masked_equal(X, 4)),
        np.where(X == 4, None, X),
    ):
        (array,) = check("table", xs).arrays
        np.testing.assert_array_equal(array, np.where(X == 4, np.nan, X))
    texts = _explainer("table").run(np.where(X == 4, None, X), return_result=True).warnings
    assert ["NaN" in " ".join(of_example) for of_example in texts] == [False, True, False, False]


def test_defaults_of_the_model_stand_for_missing_inputs_and_it_is_said() -> None:
    graph = dx.load_model(_people()).with_input_defaults({"member": np.array([True])})
    explainer = dx.Explainer("occlusion", graph, inputs="age")
    result = explainer.run({"age": [1, 2], "name": ["a", "b"]}, return_result=True)
    np.testing.assert_array_equal(result.attributions["age"], [1, 2])
    assert result.warnings == [["member: not given; the model's default stands for it"]] * 2
    with pytest.raises(dx.InputError, match=r"xs has the inputs name; the model takes .* \(missing: age\)"):
        explainer.run({"name": ["a", "b"]})


@pytest.mark.parametrize(
    ("model", "xs", "message"),
    [
        ("table", FRAME.assign(b=list("uvwx")), r"column 'b': got text \('u'\); expected numbers"),
        ("table", FRAME.assign(b=pd.to_datetime(["2020-01-01"] * 4)), "column 'b': got .*; expected numbers"),
        ("table", FRAME.assign(d=1), "one column too many: is the label or an index among them"),
        ("table", FRAME.iloc[0], r"one row of a frame; give frame.iloc\[\[i\]\]"),
        ("people", PEOPLE.iloc[0], r"one row of a frame; give frame.iloc\[\[i\]\]"),
        ("people", PEOPLE.assign(label=1), r"\(unknown: label\)"),
        ("people", PEOPLE[["age", "name"]], r"\(missing: member\)"),
        (
            "people",
            PEOPLE.assign(name=["ann", None, "cy"]),
            r"name: string .*: a value is missing, in example 1; expected strings \(fill missing values in",
        ),
        ("people", PEOPLE.assign(name=[1, 2, 3]), r"holds 1; expected strings \(give xs.astype\(str\)\)"),
        (
            "people",
            PEOPLE.assign(member=[1, 2, 0]),
            "holds 2, which bool cannot hold; expected True and False, or 0 and 1",
        ),
        (
            "people",
            PEOPLE.assign(member=pd.array([True, None, False], "boolean")),
            "a value is missing, in example 1",
        ),
        (
            "people",
            PEOPLE.set_axis([0, 1, 2], axis=1),
            r"a frame with the columns \[0, 1, 2\]; the model takes age: .*, by name",
        ),
        ("people", [{"age": 1}, {"age": 2, "name": "a"}], "the first and number 1 differ in name"),
        ("text", [[1.5, 2.0]], "holds 1.5, which int64 cannot hold; expected whole numbers"),
        ("text", [[2.0**63, 2.0]], r"holds 9.22\d*e\+18, which int64 cannot hold; expected whole numbers"),
        (
            "text",
            pd.DataFrame([[1, 2], [3, None]]),
            "a value is missing, in example 1; int64 has no missing value",
        ),
        ("text", [[1, 2], [[3, 4]]], "differ in shape: they have 1 or 2 axes; expected 1"),
        ("table", [[1, 2], [3, 4, 5]], "differ in shape: along axis 1 they have 2 to 3 values; bring all to 3"),
        ("table", [X, LABELS], r"a list of two arrays, .* looks like \(examples, labels\): give the tuple \(x, y\)"),
        ("table", [X, np.eye(4)], r"a list of two arrays, .* looks like \(examples, labels\)"),
        ("table", [X, LABELS, LABELS], r"a list of three arrays, .* looks like \(examples, labels\)"),
        ("people", [PEOPLE, [1, 0, 1]], r"a list of two arrays, .* looks like \(examples, labels\)"),
        (
            "table",
            iter([[X, LABELS], [X, LABELS]]),
            r"as PyTorch's DataLoader .*: give \(\(x, y\) for x, y in loader\)",
        ),
        ("table", iter([[X[0], 1], [X[1], 0]]), "as PyTorch's DataLoader"),
        ("table", ((X, LABELS), (X, LABELS)), "as keras.datasets returns them"),
        ("table", (X, LABELS[:3]), r"got 4 examples, and y of shape \(3,\)"),
        ("table", Dataset.from_tensor_slices(X).repeat(), r"a dataset that never ends .*; give dataset.take\(n\)"),
        ("table", Dataset.from_tensor_slices(X).take(0), "without elements; one that was read before"),
        ("table", iter([]), "list_iterator without elements"),
        ("table", iter([X, (X, LABELS)]), r"some elements of the dataset are pairs \(x, y\), others are x alone"),
        ("people", iter([{"age": 1}, {"name": "a"}]), "the elements of the dataset differ in structure"),
        ("table", keras.KerasTensor((None, 3)), "cannot read a KerasTensor as an array"),
        ("table", object(), "got a value of type object; expected an array"),
        ("table", 3.0, "got the single value 3.0; expected an array with a row for each example: give \\[xs\\]"),
        ("table", X * 1j, "got complex numbers; expected numbers"),
        ("picture", PICTURE.resize((4, 8)), r"a picture of 4 × 8 \(width × height\); .* picture.resize\(\(8, 8\)\)"),
        ("table", PICTURE, r"got pictures, which have the axes \[N, H, W, C\]"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_way_out(model: str, xs: Any, message: str) -> None:
    with pytest.raises(dx.InputError, match=message):
        check(model, xs)


def test_a_generator_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = (
        lambda: itertools.repeat(X),
        lambda: Dataset.from_generator(lambda: itertools.repeat(X), output_signature=tf.TensorSpec([4, 3])),
    )
    monkeypatch.setattr(containers, "_MOST_ELEMENTS", 10)
    for make in endless:
        with pytest.raises(
            dx.InputError, match=r"has not ended after 10 elements; give .* dataset.take\(n\) or itertools.islice"
        ):
            check("table", make())
    monkeypatch.setattr(containers, "_MOST_ELEMENTS", 10_000)
    monkeypatch.setattr(containers, "_MOST_BYTES", 1_000)
    for make in endless:
        with pytest.raises(dx.InputError, match="has not ended"):
            check("table", make())


def test_elements_of_a_generator_count_with_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [np.zeros((4, 3), np.uint8)] * 20
    monkeypatch.setattr(containers, "_MOST_BYTES", sum(batch.nbytes for batch in batches))
    assert check("table", iter(batches)).n == 80
    monkeypatch.setattr(containers, "_MOST_BYTES", sum(batch.nbytes for batch in batches) - 1)
    with pytest.raises(dx.InputError, match="has not ended"):
        check("table", iter(batches))


def test_elements_may_have_their_keys_in_any_order() -> None:
    elements = [{"age": 1.0, "name": "a", "member": True}, {"name": "b", "member": False, "age": 2.0}]
    np.testing.assert_array_equal(check("people", iter(elements)).arrays[0], [1, 2])


@pytest.mark.parametrize(
    ("shape", "example_shape", "mend"),
    [
        ((28, 28, 1), (2, 784), r"give xs.reshape\(\(-1, 28, 28, 1\)\)"),
        ((784,), (2, 28, 28), r"give xs.reshape\(\(-1, 784\)\)"),
        ((8, 9, 3), (2, 3, 8, 9), r"channels stand first: give np.moveaxis\(xs, 1, -1\)"),
        ((3, 8, 9), (2, 8, 9, 3), r"channels stand last: give np.moveaxis\(xs, -1, 1\)"),
        ((8, 9, 3), (2, 8, 9, 1), r"np.repeat\(xs, 3, -1\)"),
        ((8, 9, 3), (2, 8, 9, 4), r"xs\[..., :3\]"),
        ((8, 9, 3), (2, 8, 9), r"no axis of channels: give np.repeat\(xs\[..., None\], 3, -1\)"),
        ((8, 9, 1), (2, 8, 9, 3), "convert the pictures to grey"),
        ((8, 9, 3), (2, 4, 4, 3), r"bring the pictures to 8 × 9, .*: tf.image.resize\(xs, \(8, 9\)\)"),
        ((8, 9, 3), (1, 2, 8, 9, 3), r"one axis too many: give xs\[0\]"),
        ((8, 9, 3), (2, 5, 8, 9, 3), r"two axes stand before .*: give xs.reshape\(\(-1, 8, 9, 3\)\)"),
        ((5,), (5, 7), "its rows are columns: give xs.T"),
        ((5,), (9, 7), "give the 5 columns on which the model was trained"),
        ((20, 4), (9, 4, 20), r"np.swapaxes\(xs, 1, 2\)"),
        ((20, 4), (9, 15, 4), "cut or pad the sequences to 20"),
        ((None, 4), (9, 15, 3), "which does not fit$"),
    ],
)
def test_a_shape_that_does_not_fit_is_answered_with_the_mend(
    shape: tuple[int | None, ...], example_shape: tuple[int, ...], mend: str
) -> None:
    model = tf.function(
        lambda x: tf.reduce_sum(x, range(1, len(shape) + 1)), [tf.TensorSpec([None, *shape], tf.float32)]
    )
    with pytest.raises(dx.InputError, match=f"got an array of shape .*{mend}"):
        dx.Explainer("saliency", model).check(np.zeros(example_shape))


def test_a_row_of_a_frame_is_a_baseline() -> None:
    specs = _explainer("people").graph.inputs
    expected = {"age": 20, "name": "ann", "member": True}
    for row in (PEOPLE.iloc[[0]], PEOPLE.iloc[0], PEOPLE.astype({"age": "Int64", "name": "category"}).iloc[[0]]):
        assert read_baseline(specs, row) == expected
    specs = _explainer("table").graph.inputs
    for row in (FRAME.iloc[[1]], FRAME.iloc[1], FRAME.astype("Int64").iloc[[1]]):
        np.testing.assert_array_equal(read_baseline(specs, row), X[1])
    with pytest.raises(
        dx.ParameterError, match=r"baseline: got a frame of 4 rows; give one row, such as frame.iloc\[\[0\]\]"
    ):
        read_baseline(specs, FRAME)
    assert read_baseline(specs, 0.5) == 0.5
    for method in ("occlusion", "integrated_gradients"):
        actual, expected = (
            dx.explain(method, _table(), FRAME, target=0, baseline=row)
            for row in (FRAME.mean().to_frame().T, X.mean(0))
        )
        np.testing.assert_array_equal(actual, expected)
    row, values = PEOPLE.iloc[[0]], {"age": 20, "name": "ann", "member": True}
    actual, expected = (
        dx.explain("occlusion", _people(), PEOPLE, target=0, return_result=True, baseline=baseline).attributions
        for baseline in (row, values)
    )
    for name in values:
        np.testing.assert_array_equal(actual[name], expected[name])
        assert actual[name].any()
