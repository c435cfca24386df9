"""Forms of models: every one that can be read means what it meant where it came from; the others are refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tb_deepexplain as dx
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:the explained output is a softmax")  # compared with the model's own

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)).astype(np.float32)
W = RNG.normal(size=(3, 2)).astype(np.float32)
SPEC = tf.TensorSpec([None, 3], tf.float32, name="x")
v1 = tf.compat.v1


def _means(form: Any, model: Callable[[Any], Any], x: Any = X, **places: Any) -> dx.ModelGraph:
    """The form, once its output and the gradient of its unit 1 were seen to be the model's."""
    graph = dx.load_model(form)
    places = {"output": "output", **places}
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        output = model(tensor)
        score = output[:, 1]
    predicted = dx.Explainer("saliency", graph, **places).predict(x).outputs
    np.testing.assert_allclose(predicted, output, rtol=1e-4, atol=1e-6)
    found = dx.explain("saliency", graph, x, target=1, **places)
    np.testing.assert_allclose(found, abs(tape.gradient(score, tensor).numpy()), rtol=1e-4, atol=1e-6)
    return graph


# Functions that are compiled, or meant not to be inlined


def _compiled(name: str) -> tuple[Any, Any]:
    """(a form with calls that TensorFlow would leave alone, the same without)"""
    w = tf.Variable(W)
    plain = lambda x: tf.tanh(x @ w)  # noqa: E731 - one of several of a kind
    xla = tf.function(plain, jit_compile=True)
    noinline = tf.function(plain, experimental_attributes={"_noinline": True})
    implements = tf.function(lambda x: x * x, experimental_implements="some.kernel")
    outer = {
        "given": plain,
        "inside": lambda x: 2 * xla(x),
        "nested": tf.function(lambda x: xla(x) * xla(2 * x), jit_compile=True),
        "in a branch": lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: xla(x), lambda: -xla(x)),
        "in a loop": lambda x: tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, xla(x) * y), (0, xla(x)))[1],
        "noinline": lambda x: noinline(x) * 2,
        "implements": lambda x: xla(implements(x)),
    }[name]
    return tf.function(outer, input_signature=[SPEC], jit_compile=name == "given", autograph=False), outer


@pytest.mark.parametrize("name", ["given", "inside", "nested", "in a branch", "in a loop", "noinline", "implements"])
def test_calls_that_tensorflow_would_not_inline_are(name: str) -> None:
    form, outer = _compiled(name)
    graph = _means(form, outer)
    assert not [n.name for n in graph.view.nodes.values() if "PartitionedCall" in n.op]


def test_keras_models_that_are_compiled() -> None:
    model = models.sequential()
    model.compile(loss="mse", jit_compile=True)
    x = RNG.normal(size=(4, 10)).astype(np.float32)
    _means(model, model, x)
    call = tf.function(lambda x: model(x), jit_compile=True)
    _means((call, tf.TensorSpec([None, 10])), model, x)


# Control flow


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x * x, lambda: tf.sin(x)),
        lambda x: tf.switch_case(tf.constant(1), [lambda: x, lambda: x**3]),
        lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y) * x), (0, x))[1],
        lambda x: tf.map_fn(lambda row: row * tf.reduce_sum(row), x),
        lambda x: tf.scan(lambda a, column: a * column, tf.transpose(x))[-1][:, None] * x,
    ],
    ids=["cond", "switch_case", "while_loop", "map_fn", "scan"],
)
def test_control_flow_keeps_its_gradient(body: Any, saved: bool, tmp_path: Path) -> None:
    function = tf.function(body, input_signature=[SPEC], autograph=False)
    if saved:
        tf.saved_model.save(tf.Module(), tmp_path, signatures=function)
    _means(tmp_path if saved else function, body)


# Functions, modules, callables


class Net(tf.Module):
    def __init__(self) -> None:
        super().__init__(name="net")
        self.w = tf.Variable(W)

    @tf.function
    def score(self, x: Any) -> Any:
        return tf.tanh(x @ self.w)

    @tf.function
    def other(self, x: Any) -> Any:
        return x


class CalledNet(Net):
    @tf.function(input_signature=[SPEC])
    def __call__(self, x: Any) -> Any:
        return self.score(x)


def test_functions_that_were_traced_once() -> None:
    net = Net()
    with pytest.raises(dx.UnsupportedModelError, match="no input_signature and was never traced: give"):
        dx.load_model(net.score)
    net.score.get_concrete_function(SPEC)
    _means(net.score, net.score)
    net.score.get_concrete_function(tf.TensorSpec([None, 7, 3]))
    with pytest.raises(dx.UnsupportedModelError, match=r"was traced for 2 signatures \(.*7, 3.*: give \(function, tf"):
        dx.load_model(net.score)
    _means((net.score, SPEC), net.score)


def test_modules_by_their_call_or_only_function(tmp_path: Path) -> None:
    net = CalledNet()
    _means(net, net)
    _means((net, SPEC), net)
    plain = Net()
    with pytest.raises(
        dx.UnsupportedModelError,
        match=r"Net 'net' has no __call__ that is a tf\.function, and it has other, score: give",
    ):
        dx.load_model(plain)
    plain.score.get_concrete_function(SPEC)
    assert "Net 'net', score" in repr(_means(plain, plain.score))
    with pytest.raises(dx.UnsupportedModelError, match=r"it has no tf\.function: give"):
        dx.load_model(tf.Module())


def test_saved_modules_without_signatures(tmp_path: Path) -> None:
    net = Net()
    net.score.get_concrete_function(SPEC)
    tf.saved_model.save(net, str(tmp_path / "net"))
    _means(tmp_path / "net", net.score)
    _means(tmp_path / "net" / "saved_model.pb", net.score)
    _means(tf.saved_model.load(str(tmp_path / "net")), net.score)


def test_callables_say_what_they_take() -> None:
    one = lambda x: tf.tanh(x @ W)  # noqa: E731
    _means((one, SPEC), one)
    _means((one, [SPEC]), one)
    one.input_signature = [SPEC]
    _means(one, one)
    two = {"a": SPEC, "b": tf.TensorSpec([None, 3])}
    graph = dx.load_model((lambda a, b: a * b, two))
    assert [spec.name for spec in graph.inputs] == ["a", "b"]
    found = dx.explain("saliency", graph, {"a": X, "b": 2 * X}, target=0)
    np.testing.assert_allclose(found["b"][:, 0], abs(X[:, 0]))
    listed = dx.load_model((lambda a, b: a * b, [SPEC, tf.TensorSpec([None, 3], name="y")]))
    np.testing.assert_allclose(dx.explain("saliency", listed, [X, 2 * X], target=0)[1][:, 0], abs(X[:, 0]))


def _subclassed(package: Any) -> Any:
    class Subclassed(package.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.drop = package.layers.Dense(2, "tanh"), package.layers.Dropout(0.5)

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.drop(self.dense(inputs["x"] if isinstance(inputs, dict) else inputs), training=training)

    return Subclassed()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("package", [keras, tf_keras])
def test_subclassed_models_that_were_called(package: Any, named: bool) -> None:
    model = _subclassed(package)
    specs = {"x": SPEC} if named else SPEC
    with pytest.raises(dx.UnsupportedModelError, match="does not say what it reads"):
        dx.load_model(model)
    plain = lambda x: model({"x": x} if named else x, training=False)  # noqa: E731
    plain(X)
    for form in (model, (model, specs)):
        assert _means(form, plain).inputs[0].shape == (None, 3)
    with pytest.raises(dx.UnsupportedModelError, match=r"cannot be called with float32 \(None, 5\): "):
        dx.load_model((model, {"x": tf.TensorSpec([None, 5])}))


@pytest.mark.parametrize("named", ["Sequential", "Model"])
@pytest.mark.parametrize("package", [keras, tf_keras])
def test_a_subclass_with_a_call_of_its_own_is_called(package: Any, named: str) -> None:
    class Functional(getattr(package, named)):  # type: ignore[misc] # as Keras names its own
        def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(x) * 10.0 + 1.0

    dense = package.layers.Dense(2)
    if named == "Model":
        inputs = package.Input((3,))
        model = Functional(inputs=inputs, outputs=dense(inputs))
    else:
        model = Functional([package.Input((3,)), dense])
    _means(model, lambda x: 10 * dense(x) + 1)


def test_keras_on_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(dx.UnsupportedModelError, match=r"Keras 3 model .* runs on jax: set KERAS_BACKEND=tensorflow"):
        dx.load_model(models.sequential())


# Keras 2


def _keras2(nested: bool = False) -> tf_keras.Model:
    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.Input((3,), name="x")
    hidden = tf_keras.layers.Dense(4, "tanh", name="hidden")
    if nested:
        hidden = tf_keras.Sequential([tf_keras.Input((3,)), hidden], name="base")
    x = tf_keras.layers.Dropout(0.5)(hidden(inputs))
    x = tf_keras.layers.Dense(4, "tanh", name="hidden_1")(x)
    return tf_keras.Model(inputs, tf_keras.layers.Dense(2, "softmax", name="head")(x), name="old")


@pytest.mark.parametrize("form", ["object", "h5", "keras", "saved_model"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_keras_2_models(form: str, tmp_path: Path) -> None:
    model = _keras2()
    given = model if form == "object" else tmp_path / f"model.{form}"
    if form != "object":
        model.save(given, save_format="tf" if form == "saved_model" else None)
    graph = _means(given, model)
    _means(graph, tf_keras.Model(model.inputs, model.get_layer("hidden_1").output), output="hidden_1")
    assert {
        "object": "Keras 2 model 'old'",
        "h5": "h5 (Keras 3)",
        "keras": "keras (Keras 2)",
        "saved_model": "saved_model",
    }[form] in graph.source


@pytest.mark.filterwarnings("ignore::UserWarning")  # of maps of zeros
def test_keras_2_sequential_and_nested_models() -> None:
    sequential = tf_keras.Sequential(
        [tf_keras.Input((3,)), tf_keras.layers.Dense(4, "relu", name="inner"), tf_keras.layers.Dense(2)]
    )
    _means(sequential, sequential)
    _means(sequential, tf_keras.Model(sequential.inputs, sequential.get_layer("inner").output), output="inner")
    nested = _keras2(nested=True)
    _means(nested, nested)
    _means(nested, nested.get_layer("base"), output="base")


def _text2(**options: Any) -> tf_keras.Model:
    """Token ids in floats, as a Keras 2 Input has them unless told otherwise."""
    tf_keras.utils.set_random_seed(2)
    ids = tf_keras.Input((5,), name="ids")
    x = tf_keras.layers.Embedding(9, 4, mask_zero=True, embeddings_initializer="normal", name="embedding")(ids)
    x = tf_keras.layers.LSTM(4, name="lstm", **options)(x)
    return tf_keras.Model(ids, tf_keras.layers.Dense(2, name="head")(x))


IDS = np.array([[3, 4, 5, 0, 0], [2, 0, 0, 0, 0], [7, 6, 5, 4, 3]])


@pytest.mark.parametrize("options", [{}, {"recurrent_activation": "hard_sigmoid"}], ids=["time_major", "hard_sigmoid"])
@pytest.mark.parametrize("suffix", ["h5", "hdf5", "keras"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_old_text_models_keep_their_meaning(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    model, path = _text2(**options), tmp_path / f"model.{suffix}"
    model.save(path, save_format="h5" if suffix == "hdf5" else None)
    graph = dx.load_model(path)
    assert graph.source == f"{path} (Keras 2)"
    np.testing.assert_allclose(dx.Explainer("saliency", graph).predict(IDS).outputs, model(IDS), rtol=1e-5, atol=1e-6)
    embedded = tf.gather(model.get_layer("embedding").embeddings, IDS)
    with tf.GradientTape() as tape:
        tape.watch(embedded)
        score = model.get_layer("head")(model.get_layer("lstm")(embedded, mask=tf.constant(IDS != 0)))[:, 1]
    expected = (embedded * tape.gradient(score, embedded)).numpy()
    result = dx.explain("gradient_x_input", graph, IDS, target=1, return_result=True)
    np.testing.assert_allclose(result.attributions, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(dx.Explainer("saliency", graph).predict(IDS).token_ids, IDS)


def _without_time_major(path: Path) -> None:
    """As older versions of Keras 2 wrote it, so that Keras 3 can read it."""
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"time_major": false, ', "")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_what_keras_3_would_silently_change_is_left_to_keras_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.h5"
    model = _text2(recurrent_activation="hard_sigmoid")
    model.save(path)
    _without_time_major(path)
    changed = keras.models.load_model(path, compile=False)(IDS)
    assert abs(changed - model(IDS)).numpy().max() > 1e-4, "Keras 3 means something else by it"
    found = dx.Explainer("saliency", path).predict(IDS).outputs
    np.testing.assert_allclose(found, model(IDS), rtol=1e-5, atol=1e-6)
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(
        dx.UnsupportedModelError, match=r"hard_sigmoid.*install the extra keras2, pip install '.*\[keras2\]'"
    ):
        dx.load_model(path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_mask_that_keras_3_would_let_through(tmp_path: Path) -> None:
    ids = tf_keras.Input((5,), name="ids")
    x = tf_keras.layers.Embedding(9, 4, mask_zero=True)(ids)
    model = tf_keras.Model(ids, tf_keras.layers.GlobalAveragePooling1D()(tf_keras.layers.Rescaling(2.0)(x)))
    model.save(tmp_path / "model.h5")
    found = dx.Explainer("saliency", tmp_path / "model.h5").predict(IDS).outputs
    np.testing.assert_allclose(found, model(IDS), rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_files_that_no_keras_should_read(tmp_path: Path) -> None:
    model = _keras2()
    model.save_weights(tmp_path / "weights.h5")
    (tmp_path / "noise.h5").write_bytes(b"noise")
    tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Lambda(lambda x: x)]).save(tmp_path / "lambda.h5")

    class Own(tf_keras.layers.Dense):
        pass

    tf_keras.Sequential([tf_keras.Input((3,)), Own(2)]).save(tmp_path / "own.h5")
    for name, message in {
        "weights": "holds weights without a model: load them",
        "noise": "Keras cannot load",
        "lambda": "holds a Lambda layer, .* if you trust it, load it with tf_keras and give the model",
        "own": "no Keras can load .*Keras 3: .*Own.*; Keras 2: .*Own.*; if it needs your own code, load it",
    }.items():
        with pytest.raises(dx.UnsupportedModelError, match=message) as caught:
            dx.load_model(tmp_path / f"{name}.h5")
        assert "\n" not in str(caught.value)


# SavedModels


def test_strings_and_vocabularies_in_nested_calls(tmp_path: Path) -> None:
    class Texts(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            initializer = tf.lookup.KeyValueTensorInitializer(models.VOCABULARY, tf.range(1, 7, dtype=tf.int64))
            self.lookup = tf.lookup.StaticHashTable(initializer, 0)
            self.table = tf.Variable(RNG.normal(size=(7, 2)), dtype=tf.float32)

        @tf.function
        def ids(self, text: Any) -> Any:
            return self.lookup.lookup(tf.strings.split(text).to_tensor(shape=[None, 4]))

        @tf.function(jit_compile=True)
        def pool(self, embedded: Any) -> Any:
            return tf.reduce_mean(tf.tanh(embedded), 1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, text: Any) -> Any:
            return {"score": self.pool(tf.gather(self.table, self.ids(text))), "nothing": None}

    texts, module = np.array(["a dull film", "great", "not the film unheardof"]), Texts()
    tf.saved_model.save(module, str(tmp_path))
    for form in (module, tmp_path):
        graph = dx.load_model(form)
        assert list(graph.outputs) == ["score"]
        explainer = dx.Explainer("gradient_x_input", graph, target=1)
        np.testing.assert_allclose(explainer.predict(texts).outputs, module(tf.constant(texts))["score"], rtol=1e-5)
        embedded = module.table.numpy()[module.ids(tf.constant(texts))]
        expected = embedded * (1 - np.tanh(embedded) ** 2) / 4 * [0, 1]
        np.testing.assert_allclose(explainer.run(texts), expected, rtol=1e-5, atol=1e-7)


def test_signatures_are_chosen_by_name(tmp_path: Path) -> None:
    net = Net()
    signatures = {
        name: tf.function(lambda x, f=f: {"y": f * net.score(x)}, input_signature=[SPEC])
        for name, f in {"once": 1.0, "twice": 2.0}.items()
    }
    tf.saved_model.save(net, str(tmp_path), signatures=signatures)
    with pytest.raises(dx.UnsupportedModelError, match="no serving_default signature; it has 'once', 'twice'; choose"):
        dx.load_model(tmp_path)
    for loaded in (tmp_path, tf.saved_model.load(str(tmp_path))):
        _means(dx.load_model(loaded, signature="twice"), lambda x: 2 * net.score(x))


def _tensorflow_1(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A SavedModel as TensorFlow 1 wrote them, and its output and gradient in a session."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], name="Placeholder_7")
        keep = v1.placeholder_with_default(1.0, [], name="keep")
        w = v1.get_variable("w", initializer=tf.constant(W), use_resource=kind != "reference variables")
        y = tf.tanh(x @ w * keep)
        if kind == "cond":
            y = v1.cond(tf.reduce_sum(y) > 0, lambda: y * y, lambda: -y)
        if kind == "while_loop":
            y = v1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y) * y), (0, y))[1]
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        if kind == "several graphs":
            builder.add_meta_graph(["train"])
        builder.save()
        values: list[np.ndarray] = session.run([y, tf.gradients(y[:, 1], x)[0]], {x: X})
    return values[0], values[1]


@pytest.mark.parametrize("kind", ["plain", "reference variables", "cond", "several graphs", "while_loop"])
def test_tensorflow_1_saved_models(kind: str, tmp_path: Path) -> None:
    v1.disable_control_flow_v2()
    try:
        output, gradient = _tensorflow_1(tmp_path / "saved", kind)
    finally:
        v1.enable_control_flow_v2()
    if kind == "while_loop":
        with pytest.raises(
            dx.UnsupportedModelError, match=r"a loop of TensorFlow 1, 'while/Enter.*export the model again"
        ):
            dx.load_model(tmp_path / "saved")
        return
    graph = dx.load_model(tmp_path / "saved")
    assert repr(graph).endswith("x: float32 [?, 3] -> y)")
    assert not {n.op for n in graph.view.nodes.values()} & {"PlaceholderWithDefault"}
    np.testing.assert_allclose(dx.Explainer("saliency", graph).predict(X).outputs, output, rtol=1e-5)
    np.testing.assert_allclose(dx.explain("saliency", graph, X, target=1), abs(gradient), rtol=1e-5)


def test_vocabularies_and_sparse_columns_of_tensorflow_1(tmp_path: Path) -> None:
    """As Estimators wrote them: a table that is filled when the model is loaded, ids of a batch looked up once each."""
    with tf.Graph().as_default(), v1.Session() as session:
        text = v1.placeholder(tf.string, [None], name="text")
        words = v1.string_split(text)
        initializer = tf.lookup.KeyValueTensorInitializer(["a", "dull", "film"], tf.range(3, dtype=tf.int64))
        ids = tf.lookup.StaticVocabularyTable(initializer, 1).lookup(words.values)
        table = v1.get_variable("table", initializer=tf.constant(RNG.normal(size=(4, 2)), tf.float32))
        sparse = tf.SparseTensor(words.indices, ids, words.dense_shape)
        pooled = tf.nn.embedding_lookup_sparse(table, sparse, None, combiner="mean", name="pooled")
        score = tf.tanh(pooled)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        main_op = v1.tables_initializer()
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"text": text}, {"score": score}, main_op)
        texts = np.array(["a dull film", "film film", "dull zebra"])
        output, rows = session.run([score, pooled], {text: texts})
    graph = dx.load_model(tmp_path / "saved")
    with pytest.raises(
        dx.UnsupportedModelError, match=r"no row for each example; explain .*: inputs=\['pooled/?.*:0'\]"
    ) as caught:
        dx.Explainer("saliency", graph)
    (pooled_into,) = re.findall(r"\['(.*)'\]", str(caught.value))
    explainer = dx.Explainer("gradient_x_input", graph, inputs=pooled_into)
    np.testing.assert_allclose(explainer.predict(texts).outputs, output, rtol=1e-6)
    expected = rows * (1 - np.tanh(rows) ** 2) * [0, 1]
    np.testing.assert_allclose(explainer.run(texts, target=1), expected, rtol=1e-5, atol=1e-7)


# Frozen graphs


def _freeze(function: Any, path: Path) -> Path:
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    return path


def test_frozen_graphs(tmp_path: Path) -> None:
    big = tf.Variable(RNG.normal(size=(3, 9000)), dtype=tf.float32)
    small = tf.Variable(RNG.normal(size=(9000, 2)) / 90, dtype=tf.float32)
    plain = lambda x: tf.nn.softmax(tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x) @ big @ small)  # noqa: E731
    path = _freeze(tf.function(plain, input_signature=[SPEC]), tmp_path / "frozen.pb")
    graph = _means(path, plain)
    assert [str(spec) for spec in graph.inputs] == ["x: float32 [?, 3]"]
    assert sum(n.ByteSize() for n in graph.view.nodes.values()) < 1e5, "large constants are kept once"
    logits = dx.Explainer("saliency", path).predict(X)
    np.testing.assert_allclose(tf.nn.softmax(logits.outputs), logits.probabilities, rtol=1e-5)


def test_frozen_graphs_with_several_ends(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        x, text = v1.placeholder(tf.float32, [None, 3], name="x"), v1.placeholder(tf.string, [None], name="text")
        v1.placeholder(tf.float32, [None], name="unread")
        h = tf.multiply(x, v1.placeholder_with_default(2.0, [], name="keep"))
        tf.tanh(h, name="first")
        tf.add(h, tf.cast(tf.strings.length(text), tf.float32)[:, None], name="second")
        tf.constant(1.0, name="alone")
        (tmp_path / "ends.pbtxt").write_text(str(graph.as_graph_def()))
    loaded = dx.load_model(tmp_path / "ends.pbtxt")
    assert repr(loaded).endswith("x: float32 [?, 3]; text: string [?] -> first, second)")
    xs = {"x": X, "text": np.array(["a", "bb", "", "cccc"])}
    with pytest.raises(dx.ParameterError, match=r"choose one with output=\.\.\.: first, second"):
        dx.Explainer("saliency", loaded)
    predicted = dx.Explainer("saliency", loaded, output="second").predict(xs).outputs
    np.testing.assert_allclose(predicted, 2 * X + np.array([[1], [2], [0], [4]]), rtol=1e-6)
    found = dx.explain("saliency", loaded, xs, output="first", target=0)["x"]
    np.testing.assert_allclose(found[:, 0], 2 - 2 * np.tanh(2 * X[:, 0]) ** 2, rtol=1e-4)


# Ranks that are not known


def test_ranks_are_found_by_running_an_example(tmp_path: Path) -> None:
    def plain(x: Any) -> Any:
        shape = tf.concat([tf.shape(x)[:1], tf.strings.to_number(["4"], tf.int32), [2]], 0)
        shape = tf.py_function(lambda s: s, [shape], tf.int32)
        return tf.nn.softmax(tf.reshape(tf.tile(x[:, :2], [1, 4]), shape))

    function = tf.function(plain, input_signature=[SPEC])
    assert function.get_concrete_function().outputs[0].shape.rank is None
    graph = dx.load_model(function)
    for output in (None, "output"):
        assert dx.Explainer("saliency", graph, output=output).predict(X).outputs.shape == (4, 4, 2)
        dx.explain("saliency", graph, X, output=output, target=1)


def test_an_example_is_large_enough_for_a_window() -> None:
    def plain(x: Any) -> Any:
        rows = tf.nn.conv1d(x, tf.ones([8, 3, 2]), 1, "VALID")
        return tf.reshape(rows[:, 0], tf.py_function(lambda s: s, [tf.shape(rows[:, 0])], tf.int32))

    x = RNG.normal(size=(4, 9, 3)).astype(np.float32)
    _means((plain, tf.TensorSpec([None, None, 3])), plain, x)


def test_a_rank_that_cannot_be_found_is_refused() -> None:
    def picky(x: Any) -> Any:
        if not x.numpy().any():
            raise ValueError("zeros")
        return tf.square(x)

    model = tf.function(lambda x: tf.py_function(picky, [x], tf.float32), input_signature=[SPEC])
    with pytest.raises(dx.UnsupportedModelError, match="is of unknown rank"):
        dx.explain("saliency", model, X)


# What has no examples in rows


def _unfit() -> list[tuple[Any, str]]:
    ragged = tf.RaggedTensorSpec([None, None], tf.float32)
    return [
        (tf.function(lambda x: x.to_tensor(), input_signature=[ragged]), "takes a RaggedTensor: wrap it"),
        (
            tf.function(lambda x, t: x * t, input_signature=[SPEC, tf.TensorSpec([])]),
            r"input t \(float32\) is a single value",
        ),
        (tf.function(lambda x: x, input_signature=[tf.TensorSpec(None)]), "is of unknown rank"),
        (tf.function(lambda: tf.zeros([3]), input_signature=[]), "takes no tensor"),
        (tf.function(lambda x: 1 / 0, input_signature=[SPEC]), "cannot be traced: .*division"),
        ((lambda x: 1 / 0, SPEC), "cannot be called with float32 .*: .*division"),
        ((lambda x: x, [None, 3]), r"cannot explain \(function, NoneType, int\): give \(function, tf.TensorSpec"),
        ((1, SPEC), r"cannot explain \(int, TensorSpec\)"),
        (3, "cannot explain a int: give a keras.Model, a path to a SavedModel directory, .*, a tf.Module, or"),
        (tf_keras.Sequential([tf_keras.Input((None,), ragged=True)]), "takes sparse or ragged tensors"),
    ]


def test_what_has_no_examples_in_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.pb").write_bytes(b"noise")
    (tmp_path / "empty.pb").write_bytes(b"")
    with tf.Graph().as_default() as graph:
        tf.constant(1.0) + 1
        (tmp_path / "constant.pb").write_bytes(graph.as_graph_def().SerializeToString())
    files = {
        "noise": "holds no GraphDef",
        "empty": "GraphDef without nodes",
        "constant": "nothing in this graph depends on",
    }
    for form, message in [*_unfit(), *((tmp_path / f"{name}.pb", m) for name, m in files.items())]:
        with pytest.raises(dx.UnsupportedModelError, match=message) as caught:
            dx.load_model(form)
        assert "\n" not in str(caught.value)
