"""Attribute and WriteAttributions in pipelines of one's own, on Beam's local runner."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.ml.inference.base import RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue
from PIL import Image

import tb_deepexplain as dx
from beam_pipelines.engine.batch_size import BatchSize
from beam_pipelines.transforms import (
    Attribute,
    AttributionModelHandler,
    Attributions,
    Explained,
    WriteAttributions,
    _Commit,
    _Explain,
    _WriteShards,
    digest,
)
from tb_deepexplain.errors import ParameterError, StoreError, UnknownMethodError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.manifest import describe_methods
from tb_deepexplain.store import configuration
from tb_deepexplain.store.marker import PLUGIN_NAME
from tb_deepexplain.store.records import Attribution, Failure, Input
from tb_deepexplain.store.writer import StoreWriter
from tests import models

RNG = np.random.default_rng(0)
REQUEST = Attribute("nowhere", ["saliency"]).request
PICTURES = RNG.random((40, 8, 8, 3)).astype(np.float32)
EXPECTED_NAMES = sorted(digest({"image": x}) for x in PICTURES[:3])
METHODS = {"gradient_x_input": {}, "occlusion": {"window_shape": (4, 4, 3), "step": 4}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "image"
    models.image().export(folder, verbose=False)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "text"
    models.text(mask_zero=False).export(folder, verbose=False)
    return folder


def _pipeline() -> beam.Pipeline:
    return beam.Pipeline(runner=FnApiRunner())


def _elements() -> list[Any]:
    return [(f"p{i:02}", {"image": picture, "label": i % 3}) for i, picture in enumerate(PICTURES)]


def test_a_store_of_ones_own_examples(model: Path, tmp_path: Path) -> None:
    broken = [("short", {"image": np.ones(5)}), ("nothing", 3)]
    with _pipeline() as p:
        _ = (
            p
            | beam.Create([*_elements(), *broken])
            | Attribute(model, METHODS, target="label", labels=["cat", "dog", "fish"])
            | WriteAttributions(tmp_path, "run")
        )
    store = dx.Store(tmp_path / "run" / "plugins" / PLUGIN_NAME / "default")
    assert store.manifest["counts"] == {"examples": 40, "maps": 80, "errors": 2}
    assert [m["id"] for m in store.manifest["methods"]] == list(METHODS)
    assert store.manifest["labels"] == ["cat", "dog", "fish"]
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    failed = {row["example_id"]: row["message"] for row in store.errors().to_pylist()}
    assert "has 5 values; expected 192" in failed["short"]
    assert "the element is a int; expected a serialized tf.Example" in failed["nothing"]
    expected = dx.explain("gradient_x_input", model, PICTURES, target=np.arange(40) % 3)
    rows = store.index.to_pylist()
    chosen = [i for i, row in enumerate(rows) if row["method"] == "gradient_x_input"]
    for i, values in zip(chosen, store.maps(chosen), strict=True):
        np.testing.assert_allclose(values, expected[int(rows[i]["example_id"][1:])], rtol=2e-3, atol=1e-5)
    with pytest.raises(StoreError, match="holds a store already"), _pipeline() as p:
        _ = p | beam.Create(_elements()) | Attribute(model, ["saliency"]) | WriteAttributions(tmp_path, "run")


def test_the_readmes_pipeline_runs(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    code = readme.split("## In your own Beam pipeline")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model").symlink_to(model)
    exec(code, {"picture": PICTURES[0]})
    store = dx.Store(tmp_path / "logs" / "mine" / "plugins" / PLUGIN_NAME / "default")
    assert store.manifest["counts"] == {"examples": 1, "maps": 2, "errors": 0}


def test_windows_and_times_are_kept(model: Path) -> None:
    def check(found: list[Any]) -> None:
        assert sorted(found) == [(f"p{i:02}", i, i // 10) for i in range(40)]

    with _pipeline() as p:
        explained = (
            p
            | beam.Create(list(enumerate(_elements())))
            | beam.Map(lambda pair: TimestampedValue(pair[1], pair[0]))
            | beam.WindowInto(FixedWindows(10))
            | Attribute(model, ["saliency"])
        ).explained
        seen = explained | beam.Map(
            lambda e, t=beam.DoFn.TimestampParam, w=beam.DoFn.WindowParam: (
                e.input.example_id,
                int(t),
                int(w.start) // 10,
            )
        )
        assert_that(seen | "All" >> beam.WindowInto(GlobalWindows()), check)


def test_texts_of_one_length_make_a_batch(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[set[int]] = []
    real = BatchExplainer.explain

    def explain(self: BatchExplainer, examples: Any, **options: Any) -> Any:
        batches.append({len(e.inputs["ids"]) for e in examples})
        return real(self, examples, **options)

    monkeypatch.setattr(BatchExplainer, "explain", explain)
    ids = [(f"{i:03}", {"ids": RNG.integers(1, 8, 2 + i % 4)}) for i in range(40)]
    with _pipeline() as p:
        found = p | beam.Create(ids) | Attribute(texts, ["gradient_x_input"])
        lengths = found.explained | beam.Map(lambda e: (e.input.example_id, len(e.attributions[0].values)))
        assert_that(
            lengths, lambda got: np.testing.assert_equal(sorted(got), [(f"{i:03}", 2 + i % 4) for i in range(40)])
        )
    assert all(len(lengths) == 1 for lengths in batches)


def test_one_example_at_fault_costs_only_itself(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = BatchExplainer.attempt

    def attempt(self: BatchExplainer, examples: Any, *rest: Any) -> Any:
        if any(example.id == "p07" for example in examples):
            raise ValueError("this one cannot be")
        return real(self, examples, *rest)

    monkeypatch.setattr(BatchExplainer, "attempt", attempt)
    with _pipeline() as p:
        found = p | beam.Create(_elements()) | Attribute(model, ["saliency"])
        assert_that(found.explained | beam.combiners.Count.Globally(), lambda n: np.testing.assert_equal(n, [39]))
        failed = found.errors | beam.Map(lambda f: (f.example_id, f.stage, f.message))
        expected = [("p07", "explain", "this one cannot be")]
        assert_that(failed, lambda got: np.testing.assert_equal(got, expected), label="errors")


def test_elements_without_an_id_are_named_by_their_content(model: Path) -> None:
    pictures = [{"image": x} for x in PICTURES[:3]]
    for order in (pictures, pictures[::-1]):
        with _pipeline() as p:
            explained = (p | beam.Create(order) | Attribute(model, ["saliency"])).explained
            names = explained | beam.Map(lambda e: e.input.example_id)
            assert_that(names, lambda got: np.testing.assert_equal(sorted(got), EXPECTED_NAMES))


def test_run_inference_answers_for_every_element(model: Path) -> None:
    elements = [*_elements()[:10], ("short", {"image": np.ones(5)})]
    handler = AttributionModelHandler(Attribute(model, METHODS, batch_size=4))
    with _pipeline() as p:
        answers = p | beam.Create(elements) | RunInference(handler)
        kinds = answers | beam.Map(lambda a: (a.example[0], type(a.inference).__name__))
        expected = sorted([(f"p{i:02}", "Explained") for i in range(10)] + [("short", "Failure")])
        assert_that(kinds, lambda got: np.testing.assert_equal(sorted(got), expected))


def test_errors_keep_their_windows_and_times(model: Path) -> None:
    broken = {
        3: {"image": np.ones(5)},
        17: {"image": np.full((8, 8, 3), np.nan)},
        18: {},
        33: {"image": PICTURES[0] * np.inf},
    }
    elements = [(name, broken.get(i, columns)) for i, (name, columns) in enumerate(_elements())]

    def check(found: list[Any]) -> None:
        assert sorted(found) == [("p03", 3, 0), ("p17", 17, 1), ("p18", 18, 1), ("p33", 33, 3)]

    with _pipeline() as p:
        errors = (
            p
            | beam.Create(list(enumerate(elements)))
            | beam.Map(lambda pair: TimestampedValue(pair[1], pair[0]))
            | beam.WindowInto(FixedWindows(10))
            | Attribute(model, ["gradient_x_input"])
        ).errors
        seen = errors | beam.Map(
            lambda e, t=beam.DoFn.TimestampParam, w=beam.DoFn.WindowParam: (e.example_id, int(t), int(w.start) // 10)
        )
        assert_that(seen | "All" >> beam.WindowInto(GlobalWindows()), check)


def test_two_elements_of_one_id_get_their_own_maps(model: Path) -> None:
    elements = [(name, {"image": x}) for name, x in zip("aabaa", PICTURES, strict=False)]
    maps = dx.explain("saliency", model, PICTURES[:5], target="predicted")
    expected = sorted((name, float(values.sum())) for (name, _), values in zip(elements, maps, strict=True))

    def check(found: list[Any]) -> None:
        assert [name for name, _ in sorted(found)] == list("aaaab")
        np.testing.assert_allclose([v for _, v in sorted(found)], [v for _, v in expected], rtol=2e-3)

    with _pipeline() as p:
        explained = (p | beam.Create(elements) | Attribute(model, ["saliency"])).explained
        sums = explained | beam.Map(lambda e: (e.input.example_id, float(e.attributions[0].values.sum())))
        assert_that(sums, check)


def _only(model: Path, element: Any, **options: Any) -> Explained:
    """What comes of one element."""
    attribute = Attribute(model, ["saliency"], **options)
    (answer,) = (handler := AttributionModelHandler(attribute)).run_inference([element], handler.load_model())
    assert isinstance(answer.inference, Explained), answer.inference
    return answer.inference


def test_the_options_are_those_of_the_command(model: Path, texts: Path) -> None:
    element = {"pixels": PICTURES[0], "other": 1.0, "class": "dog", "key": "k", "label": 0, "id": "no"}
    options = {"features": {"image": "pixels"}, "label_feature": "class", "id_feature": "key"}
    names = ["cat", "dog", "fish"]
    found = _only(model, element, target="label", labels=names, step=7, **options)
    (row,) = found.attributions
    assert (found.input.example_id, row.example_id) == ("k", "k")
    assert (row.target, row.target_label, row.label, row.label_name, row.step) == (1, "dog", 1, "dog", 7)
    mine = _only(model, element, preprocess=lambda record: {"image": record["pixels"] / 2, "id": "mine", "label": 2})
    halved = dx.explain("saliency", model, PICTURES[:1] / 2, target="predicted")[0]
    np.testing.assert_allclose(mine.attributions[0].values, halved, rtol=2e-3, atol=1e-6)
    assert (mine.input.example_id, mine.attributions[0].label) == ("mine", 2)
    said = _only(texts, {"ids": [2, 3]}, vocabulary=["", "[UNK]", "a", "great"])
    assert said.input.tokens == ["a", "great"]


def test_the_id_of_a_pair_stands_for_that_of_the_record_and_takes_nothing_else(model: Path) -> None:
    png = tf.io.encode_png((PICTURES[0] * 255).astype(np.uint8)).numpy()
    record = {"image": png, "label": 2, "id": "inner"}
    for element, name in ((("outer", record), "outer"), (record, "inner")):
        found = _only(model, element)
        assert (found.input.example_id, found.input.label, found.input.image) == (name, 2, png)


def test_batches_are_as_large_as_asked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = BatchExplainer.explain

    def explain(self: BatchExplainer, examples: Any, **options: Any) -> Any:
        sizes.append(len(examples))
        return real(self, examples, **options)

    monkeypatch.setattr(BatchExplainer, "explain", explain)
    with _pipeline() as p:
        _ = p | beam.Create(_elements(), reshuffle=False) | Attribute(model, ["saliency"], batch_size=3)
    assert max(sizes) == 3
    assert sum(sizes) == 40
    assert AttributionModelHandler(Attribute(model, ["saliency"], batch_size=3)).batch_elements_kwargs() == {
        "max_batch_size": 3
    }


def test_the_digest_is_of_names_and_values() -> None:
    one = {"a": np.array(["x" * 50], object), "b": [1, 2]}
    assert digest(one) == digest({"b": [1, 2], "a": np.array(["x" * 49 + "x"[:1]], object)})
    # The features of a tf.Example have no order, but their bytes may come in any.
    entries = [b"\n\x0c\n\x01%c\x12\x07\x1a\x05\n\x03\x01\x02\x03" % name for name in b"ab"]
    one, other = (b"\n" + bytes([28]) + b"".join(order) for order in (entries, entries[::-1]))
    assert set(tf.train.Example.FromString(one).features.feature) == {"a", "b"}
    assert one != other and digest(one) == digest(other)
    others = [{"a": "x", "b": 1}, {"c": "x", "b": 1}, {"a": "x", "b": 2}, {"a": "x"}, b"x", b"y"]
    assert len({digest(other) for other in others}) == len(others)


def _write(directory: Path, *units: str) -> None:
    for unit in units:
        with StoreWriter(directory).shard(unit) as shard:
            shard.add([Attribution(unit, "saliency", np.ones(2, np.float32))], [Input(unit, "tabular", values=[1, 2])])


def test_a_commit_that_is_tried_again_changes_nothing(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run" / "plugins" / PLUGIN_NAME / "mine"
    _write(directory, "bundle-a", "bundle-b", "bundle-c")
    commit, request = _Commit((str(tmp_path), "run", "mine"), 0.5), Attribute(model, ["saliency"]).request
    (first,) = commit.process(["bundle-c", "bundle-a"], request)
    assert (first["name"], first["modality"], first["units"]) == ("mine", "tabular", ["bundle-a", "bundle-c"])
    kept = {f"{kind}-{unit}.parquet" for kind in ("attributions", "inputs", "errors") for unit in first["units"]}
    assert {path.name for path in directory.iterdir()} == kept | {"manifest.json", *first["index"]}
    _write(directory, "bundle-d")  # done again, meanwhile
    assert list(commit.process(["bundle-a", "bundle-c"], request)) == [first]
    assert {path.name for path in directory.iterdir()} == kept | {"manifest.json", *first["index"]}
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 1
    with pytest.raises(StoreError, match="was committed by another run meanwhile; give another name"):
        list(commit.process(["bundle-e"], request))
    assert dx.Store(directory).manifest == first


def test_every_bundle_is_a_unit_of_its_own_and_an_empty_one_is_none(tmp_path: Path) -> None:
    write, found = _WriteShards(str(tmp_path)), []
    for names in ("a", "", "bc", "a"):
        write.start_bundle()
        for name in names:
            write.process(Failure(name, "explain", "NotFinite", "why"), REQUEST)
        found.append([value.value for value in write.finish_bundle()])
    assert [len(units) for units in found] == [1, 0, 1, 1]
    units = [unit for units in found for unit in units]
    assert StoreWriter(tmp_path).finished_units() == set(units)
    assert len(set(units)) == 3


def test_windows_make_one_store(model: Path, tmp_path: Path) -> None:
    with _pipeline() as p:
        _ = (
            p
            | beam.Create(list(enumerate([*_elements()[:20], ("short", {"image": np.ones(5)})])))
            | beam.Map(lambda pair: TimestampedValue(pair[1], pair[0]))
            | beam.WindowInto(FixedWindows(5))
            | Attribute(model, ["saliency"])
            | WriteAttributions(tmp_path, "run", "second")
        )
    store = dx.Store(tmp_path / "run" / "plugins" / PLUGIN_NAME / "second")
    assert store.manifest["name"] == "second"
    assert store.manifest["counts"] == {"examples": 20, "maps": 20, "errors": 1}
    assert store.manifest["model"]["fingerprint"] == configuration.fingerprint(model)


def test_an_unbounded_collection_is_refused(tmp_path: Path) -> None:
    p = _pipeline()
    endless = beam.PCollection(p, is_bounded=False)
    with pytest.raises(ParameterError, match="needs a bounded PCollection"):
        WriteAttributions(tmp_path).expand(Attributions(endless, endless, endless))


def test_every_answer_is_of_its_own_element(model: Path) -> None:
    handler = AttributionModelHandler(Attribute(model, METHODS, target="label"))
    elements = [
        *_elements()[:4],
        ("short", {"image": np.ones(5)}),
        ("nan", {"image": PICTURES[0] * np.nan, "label": 1}),
    ]
    elements = [elements[i] for i in (3, 4, 0, 5, 2, 1)]
    answers = list(handler.run_inference(elements, handler.load_model()))
    assert [answer.example for answer in answers] == elements
    expected = dx.explain("gradient_x_input", model, PICTURES[:4], target=np.arange(4) % 3)
    for (name, _), answer in zip(elements, answers, strict=True):
        found = answer.inference
        if name in ("short", "nan"):
            assert isinstance(found, Failure)
            assert (found.example_id, found.stage) == (name, "parse" if name == "short" else "explain")
            continue
        assert found.input.example_id == name
        assert [(row.example_id, row.method) for row in found.attributions] == [(name, method) for method in METHODS]
        np.testing.assert_allclose(found.attributions[0].values, expected[int(name[1:])], rtol=2e-3, atol=1e-5)
    with pytest.raises(ParameterError, match="there are none; give them to Attribute"):
        list(handler.run_inference(elements, handler.load_model(), {"target": 1}))


def test_what_the_model_needs_is_asked_of_its_step_alone(model: Path, tmp_path: Path) -> None:
    p = _pipeline()
    attribute = Attribute(model, ["saliency"]).with_resource_hints(min_ram="4GB")
    _ = p | beam.Create(_elements()) | attribute | WriteAttributions(tmp_path)
    proto, _ = p.to_runner_api(return_context=True)
    environments = proto.components.environments
    hinted = {
        t.unique_name for t in proto.components.transforms.values()
        if not t.subtransforms and t.environment_id and environments[t.environment_id].resource_hints
    }  # fmt: skip
    assert hinted == {"Attribute/Explain/ParDo(_Explain)"}


def test_equal_examples_are_kept_once(model: Path, tmp_path: Path) -> None:
    twice = [{"image": PICTURES[i % 3]} for i in range(6)]
    with _pipeline() as p:
        _ = p | beam.Create(twice) | Attribute(model, ["saliency"]) | WriteAttributions(tmp_path)
    store = dx.Store(tmp_path / "attributions" / "plugins" / PLUGIN_NAME / "default")
    assert store.manifest["counts"] == {"examples": 3, "maps": 3, "errors": 3}
    assert {row["error"] for row in store.errors().to_pylist()} == {"DuplicateId"}


def test_too_many_errors_end_the_pipeline_without_a_store(model: Path, tmp_path: Path) -> None:
    p = _pipeline()
    elements = p | beam.Create(_elements()[:4])
    _ = elements | Attribute(model, ["saliency"], target=9999) | WriteAttributions(tmp_path)
    with pytest.raises(Exception, match=r"4 of 4 examples failed, more than max_error_rate=0.5 allows"):
        p.run()
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("value", [{"image": [[1, 2], [3]]}, {3: 4}, None])
def test_whatever_is_wrong_with_an_element_is_its_own_trouble(model: Path, value: Any) -> None:
    with _pipeline() as p:
        elements = p | beam.Create([0]) | beam.FlatMap(lambda _: [value, *_elements()[:2]])
        found = elements | Attribute(model, ["saliency"])
        assert_that(found.explained | beam.combiners.Count.Globally(), lambda n: np.testing.assert_equal(n, [2]))
        stages = found.errors | beam.Map(lambda failure: failure.stage)
        assert_that(stages, lambda got: np.testing.assert_equal(got, ["parse"]), label="errors")


def test_the_steps_behind_are_not_in_the_time_of_a_batch(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[tuple[int, float]] = []
    monkeypatch.setattr(BatchSize, "record", lambda self, examples, seconds: took.append((examples, seconds)))

    def slow(each: Any) -> Any:
        time.sleep(0.2)
        return each

    with _pipeline() as p:
        _ = (p | beam.Create(_elements()[:32]) | Attribute(model, ["saliency"])).explained | beam.Map(slow)
    assert [examples for examples, _ in took] == [16, 16]
    assert took[1][1] < 3  # the first compiles; 16 × 0.2 s are those of the step behind


def test_what_waits_for_others_like_it_is_bounded(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[int] = []
    real = _Explain._flush

    def flush(self: _Explain, key: Any) -> Any:
        most.append(len(self._waiting))
        return real(self, key)

    monkeypatch.setattr(_Explain, "_flush", flush)
    monkeypatch.setattr("beam_pipelines.transforms._MOST_KINDS", 3)
    ids = [(f"{i:03}", {"ids": RNG.integers(1, 8, 2 + i % 9)}) for i in range(27)]
    with _pipeline() as p:
        found = p | beam.Create(ids) | Attribute(texts, ["gradient_x_input"])
        assert_that(found.explained | beam.combiners.Count.Globally(), lambda n: np.testing.assert_equal(n, [27]))
    assert max(most) == 4


def test_a_bundle_that_fails_leaves_no_file(tmp_path: Path) -> None:
    write = _WriteShards(str(tmp_path))
    write.start_bundle()
    write.process(Failure("x", "parse", "InputError", "no"), REQUEST)
    write._shard._writer("errors")  # type: ignore[union-attr]
    assert list(tmp_path.iterdir())
    write.teardown()
    assert not list(tmp_path.iterdir())


def test_two_elements_with_one_id_get_their_own_answers(model: Path) -> None:
    handler = AttributionModelHandler(Attribute(model, ["saliency", "gradient_x_input"]))
    one, two = handler.run_inference(
        [("a", {"image": PICTURES[0]}), ("a", {"image": PICTURES[1]})], handler.load_model()
    )
    expected = dx.explain("gradient_x_input", model, PICTURES[:2], target="predicted")
    for answer, values in zip((one, two), expected, strict=True):
        assert [(a.example_id, a.method) for a in answer.inference.attributions] == [
            ("a", "saliency"),
            ("a", "gradient_x_input"),
        ]
        np.testing.assert_allclose(answer.inference.attributions[1].values, values, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda m: Attribute(m, ["salience"]), UnknownMethodError, "did you mean saliency"),
        (lambda m: Attribute(m, []), ParameterError, "at least one"),
        (lambda m: Attribute(m, ["intgrad", "integrated_gradients"]), ParameterError, "different methods"),
        (lambda m: Attribute(m, {"occlusion": {"window": 3}}), ParameterError, "did you mean window_shape"),
        (lambda m: Attribute(m, ["saliency"], target="best"), ParameterError, "expected predicted, label"),
        (lambda m: WriteAttributions(m, name="../up"), ParameterError, "expected letters"),
    ],
)
def test_what_cannot_be_is_refused_when_the_pipeline_is_built(build: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        build("model")


def test_a_baseline_that_is_an_array_can_be_seen() -> None:
    grey = np.full((1, 200, 100, 3), 0.5, np.float32)
    grey[0, :100] = 0
    request = Attribute(
        "nowhere", {"occlusion": {"baseline": grey}, "deeplift": {"baseline": 0.5}, "saliency": {}}
    ).request
    shown, *others = describe_methods(request)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["baseline_picture"]))))
    assert picture.shape == (67, 34, 3)  # every third pixel: it is small wherever it goes
    assert not picture[:33].any() and (picture[34:] == 128).all()
    assert not any("baseline_picture" in method for method in others)
