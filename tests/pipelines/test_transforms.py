"""Attribute and WriteAttributions in pipelines of one's own, on Beam's local runner."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue

import tb_deepexplain as dx
from beam_pipelines.batching import BatchSize
from beam_pipelines.explaining import BatchExplainer
from beam_pipelines.transforms import (
    Attribute,
    AttributionModelHandler,
    WriteAttributions,
    _digest,
    _Explain,
    _WriteShards,
)
from tb_deepexplain.errors import ParameterError, StoreError, UnknownMethodError
from tb_deepexplain.marker import PLUGIN_NAME
from tb_deepexplain.record import Failure
from tests import models

RNG = np.random.default_rng(0)
PICTURES = RNG.random((40, 8, 8, 3)).astype(np.float32)
EXPECTED_NAMES = sorted(_digest({"image": x}) for x in PICTURES[:3])
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
    monkeypatch.setattr(BatchSize, "took", lambda self, examples, seconds: took.append((examples, seconds)))

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
    write.process(Failure("x", "parse", "InputError", "no"))
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
