"""Attribute on Beam's local runner."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import apache_beam as beam
import keras
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue
from PIL import Image

import tb_deepexplain as dx
from beam_pipelines.engine.batch_size import BatchSize
from beam_pipelines.transforms import (
    Attribute,
    AttributionModelHandler,
    Explained,
    WriteAttributions,
    digest,
)
from beam_pipelines.transforms.attribute import _ExplainElements
from tb_deepexplain.errors import ParameterError, UnknownMethodError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.manifest import describe_methods
from tb_deepexplain.store.marker import PLUGIN_NAME
from tests.closeness import assert_map_close
from tests.transforms.elements import PICTURES, RNG, make_elements, make_pipeline


def test_windows_and_timestamps_are_kept(model: Path) -> None:
    def check(outputs: list[Any]) -> None:
        assert sorted(outputs) == [(f"p{i:02}", i, i // 10) for i in range(40)]

    with make_pipeline() as p:
        explained = (
            p
            | beam.Create(list(enumerate(make_elements())))
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


def test_texts_of_equal_length_are_batched(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[set[int]] = []
    real = BatchExplainer.explain_each

    def explain(self: BatchExplainer, examples: Any, **options: Any) -> Any:
        batches.append({len(e.inputs["ids"]) for e in examples})
        return real(self, examples, **options)

    monkeypatch.setattr(BatchExplainer, "explain_each", explain)
    ids = [(f"{i:03}", {"ids": RNG.integers(1, 8, 2 + i % 4)}) for i in range(40)]
    with make_pipeline() as p:
        attributions = p | beam.Create(ids) | Attribute(texts, ["gradient_x_input"])
        lengths = attributions.explained | beam.Map(lambda e: (e.input.example_id, len(e.attributions[0].values)))
        assert_that(
            lengths, lambda got: np.testing.assert_equal(sorted(got), [(f"{i:03}", 2 + i % 4) for i in range(40)])
        )
    assert all(len(lengths) == 1 for lengths in batches)


class Columns(NamedTuple):
    """A schema of two columns."""

    id: str
    ids: list[int]


@pytest.mark.parametrize("rows", [Columns, beam.Row])
@pytest.mark.parametrize("keyed", [False, True])
def test_rows_with_a_schema_are_columns(texts: Path, rows: Any, keyed: bool) -> None:
    """Also rows of two fields, which are tuples once a coder has read them."""
    elements = [rows(id=f"{i}", ids=[1 + i, 2, 3]) for i in range(3)]
    key = (lambda row: ("key " + row.id, row)) if keyed else (lambda row: row)
    with make_pipeline() as p:
        attributions = p | beam.Create(elements) | beam.Reshuffle() | beam.Map(key) | Attribute(texts, ["saliency"])
        described = attributions.explained | beam.Map(lambda e: (e.input.example_id, len(e.attributions[0].values)))
        prefix = "key " if keyed else ""
        assert_that(
            described, lambda got: np.testing.assert_equal(sorted(got), [(f"{prefix}{i}", 3) for i in range(3)])
        )
        assert_that(attributions.errors, lambda got: np.testing.assert_equal(got, []), label="no errors")


def test_a_bad_example_fails_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = BatchExplainer.attempt

    def attempt(self: BatchExplainer, examples: Any, *rest: Any) -> Any:
        if any(example.id == "p07" for example in examples):
            raise ValueError("this one cannot be")
        return real(self, examples, *rest)

    monkeypatch.setattr(BatchExplainer, "attempt", attempt)
    with make_pipeline() as p:
        attributions = p | beam.Create(make_elements()) | Attribute(model, ["saliency"])
        assert_that(
            attributions.explained | beam.combiners.Count.Globally(), lambda n: np.testing.assert_equal(n, [39])
        )
        failed = attributions.errors | beam.Map(lambda f: (f.example_id, f.stage, f.message))
        expected = [("p07", "explain", "this one cannot be")]
        assert_that(failed, lambda got: np.testing.assert_equal(got, expected), label="errors")


def test_elements_without_an_id_are_named_by_content(model: Path) -> None:
    pictures = [{"image": x} for x in PICTURES[:3]]
    for order in (pictures, pictures[::-1]):
        with make_pipeline() as p:
            explained = (p | beam.Create(order) | Attribute(model, ["saliency"])).explained
            names = explained | beam.Map(lambda e: e.input.example_id)
            assert_that(
                names,
                lambda got: np.testing.assert_equal(sorted(got), sorted(digest({"image": x}) for x in PICTURES[:3])),
            )


def test_errors_keep_windows_and_timestamps(model: Path) -> None:
    broken = {
        3: {"image": np.ones(5)},
        17: {"image": np.full((8, 8, 3), np.nan)},
        18: {},
        33: {"image": PICTURES[0] * np.inf},
    }
    elements = [(name, broken.get(i, columns)) for i, (name, columns) in enumerate(make_elements())]

    def check(outputs: list[Any]) -> None:
        assert sorted(outputs) == [("p03", 3, 0), ("p17", 17, 1), ("p18", 18, 1), ("p33", 33, 3)]

    with make_pipeline() as p:
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


def test_elements_with_equal_ids_get_separate_maps(model: Path) -> None:
    elements = [(name, {"image": x}) for name, x in zip("aabaa", PICTURES, strict=False)]
    maps = dx.explain("saliency", model, PICTURES[:5], target="predicted")
    expected = sorted((name, float(values.sum())) for (name, _), values in zip(elements, maps, strict=True))

    def check(outputs: list[Any]) -> None:
        assert [name for name, _ in sorted(outputs)] == list("aaaab")
        np.testing.assert_allclose([v for _, v in sorted(outputs)], [v for _, v in expected], rtol=2e-3)

    with make_pipeline() as p:
        explained = (p | beam.Create(elements) | Attribute(model, ["saliency"])).explained
        sums = explained | beam.Map(lambda e: (e.input.example_id, float(e.attributions[0].values.sum())))
        assert_that(sums, check)


def _explain_one(model: Path, element: Any, **options: Any) -> Explained:
    """What comes of one element."""
    attribute = Attribute(model, ["saliency"], **options)
    (answer,) = (handler := AttributionModelHandler(attribute)).run_inference([element], handler.load_model())
    assert isinstance(answer.inference, Explained), answer.inference
    return answer.inference


def test_options_work_as_in_the_command(model: Path, texts: Path) -> None:
    element = {"pixels": PICTURES[0], "other": 1.0, "class": "dog", "key": "k", "label": 0, "id": "no"}
    options = {"features": {"image": "pixels"}, "label_feature": "class", "id_feature": "key"}
    names = ["cat", "dog", "fish"]
    explained = _explain_one(model, element, target="label", labels=names, step=7, **options)
    (row,) = explained.attributions
    assert (explained.input.example_id, row.example_id) == ("k", "k")
    assert (row.target, row.target_label, row.label, row.label_name, row.step) == (1, "dog", 1, "dog", 7)
    mine = _explain_one(
        model, element, preprocess=lambda record: {"image": record["pixels"] / 2, "id": "mine", "label": 2}
    )
    halved = dx.explain("saliency", model, PICTURES[:1] / 2, target="predicted")[0]
    assert_map_close(mine.attributions[0].values, halved, share=1e-3)
    assert (mine.input.example_id, mine.attributions[0].label) == ("mine", 2)
    exact = _explain_one(model, element, precision="float64", labels=names, **options).attributions[0].values
    expected = dx.explain("saliency", model, PICTURES[:1], precision="float64")[0]
    np.testing.assert_allclose(exact, expected, rtol=1e-12)
    explained = _explain_one(texts, {"ids": [2, 3]}, vocabulary=["", "[UNK]", "a", "great"])
    assert explained.input.tokens == ["a", "great"]


def test_only_elements_that_meet_a_condition_are_explained(model: Path, tmp_path: Path) -> None:
    predictions = keras.layers.TFSMLayer(model, call_endpoint="serve")(PICTURES).numpy()
    wrong = [i for i in range(40) if predictions[i].argmax() != i % 3]
    bound = float(np.sort(predictions[wrong].max(1))[len(wrong) // 2 :][:2].mean())  # between two of them
    expected = [f"p{i:02}" for i in wrong if predictions[i].max() < bound]
    assert 0 < len(expected) < len(wrong) < 40
    elements = [*make_elements(), ("short", {"image": np.ones(5)})]
    pipeline = make_pipeline()
    attribute = Attribute(model, ["saliency"], only=f"misclassified and probability<{bound}", batch_size=7)
    attributions = pipeline | beam.Create(elements) | attribute
    ids = attributions.explained | beam.Map(lambda e: e.input.example_id)
    assert_that(ids, lambda got: np.testing.assert_equal(sorted(got), expected))
    _ = attributions | WriteAttributions(tmp_path, "run")
    result = pipeline.run()
    result.wait_until_finish()
    counts = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}
    assert (counts["examples_explained"], counts["examples_skipped"]) == (len(expected), 40 - len(expected))
    store = dx.Store(tmp_path / "run" / "plugins" / PLUGIN_NAME / "default")
    assert store.manifest["counts"] == {"examples": len(expected), "maps": len(expected), "errors": 1}
    assert store.manifest["options"] == {"only": f"misclassified and probability<{bound}"}
    with pytest.raises(ParameterError, match="RunInference expects an answer for every element"):
        AttributionModelHandler(attribute)


def test_the_id_of_a_pair_replaces_the_id_of_the_record(model: Path) -> None:
    png = tf.io.encode_png((PICTURES[0] * 255).astype(np.uint8)).numpy()
    record = {"image": png, "label": 2, "id": "inner"}
    for element, name in ((("outer", record), "outer"), (record, "inner")):
        explained = _explain_one(model, element)
        assert (explained.input.example_id, explained.input.label, explained.input.image) == (name, 2, png)


def test_batch_size_is_respected(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = BatchExplainer.explain_each

    def explain(self: BatchExplainer, examples: Any, **options: Any) -> Any:
        sizes.append(len(examples))
        return real(self, examples, **options)

    monkeypatch.setattr(BatchExplainer, "explain_each", explain)
    with make_pipeline() as p:
        _ = p | beam.Create(make_elements(), reshuffle=False) | Attribute(model, ["saliency"], batch_size=3)
    assert max(sizes) == 3
    assert sum(sizes) == 40
    assert AttributionModelHandler(Attribute(model, ["saliency"], batch_size=3)).batch_elements_kwargs() == {
        "max_batch_size": 3
    }


def test_the_digest_depends_on_names_and_values() -> None:
    one = {"a": np.array(["x" * 50], object), "b": [1, 2]}
    assert digest(one) == digest({"b": [1, 2], "a": np.array(["x" * 49 + "x"[:1]], object)})
    # The features of a tf.Example have no order, but their bytes may come in any.
    entries = [b"\n\x0c\n\x01%c\x12\x07\x1a\x05\n\x03\x01\x02\x03" % name for name in b"ab"]
    one, other = (b"\n" + bytes([28]) + b"".join(order) for order in (entries, entries[::-1]))
    assert set(tf.train.Example.FromString(one).features.feature) == {"a", "b"}
    assert one != other and digest(one) == digest(other)
    assert digest({"tags": ["a", "b"]}) != digest({"tags": ["ab"]}) != digest({"tags": ["a", b""]})
    others = [{"a": "x", "b": 1}, {"c": "x", "b": 1}, {"a": "x", "b": 2}, {"a": "x"}, b"x", b"y"]
    assert len({digest(other) for other in others}) == len(others)


def test_resource_hints_apply_to_the_model_step_alone(model: Path, tmp_path: Path) -> None:
    p = make_pipeline()
    attribute = Attribute(model, ["saliency"]).with_resource_hints(min_ram="4GB")
    _ = p | beam.Create(make_elements()) | attribute | WriteAttributions(tmp_path)
    proto, _ = p.to_runner_api(return_context=True)
    environments = proto.components.environments
    hinted = {
        t.unique_name for t in proto.components.transforms.values()
        if not t.subtransforms and t.environment_id and environments[t.environment_id].resource_hints
    }  # fmt: skip
    assert hinted == {"Attribute/Explain/ParDo(_ExplainElements)"}


@pytest.mark.parametrize("value", [{"image": [[1, 2], [3]]}, {3: 4}, None])
def test_a_bad_element_fails_alone(model: Path, value: Any) -> None:
    with make_pipeline() as p:
        elements = p | beam.Create([0]) | beam.FlatMap(lambda _: [value, *make_elements()[:2]])
        attributions = elements | Attribute(model, ["saliency"])
        assert_that(attributions.explained | beam.combiners.Count.Globally(), lambda n: np.testing.assert_equal(n, [2]))
        stages = attributions.errors | beam.Map(lambda failure: failure.stage)
        assert_that(stages, lambda got: np.testing.assert_equal(got, ["parse"]), label="errors")


def test_later_steps_do_not_count_as_batch_time(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[tuple[int, float]] = []
    monkeypatch.setattr(BatchSize, "record", lambda self, examples, seconds, _: took.append((examples, seconds)))
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + clock.skipped, skipped=0.0)
    monkeypatch.setattr("beam_pipelines.transforms.attribute.time", clock)

    def slow(each: Any) -> Any:
        from beam_pipelines.transforms import attribute  # Beam pickles this function, so that its own `clock` is a copy

        attribute.time.skipped += 1000
        return each

    with make_pipeline() as p:
        _ = (p | beam.Create(make_elements()[:32]) | Attribute(model, ["saliency"])).explained | beam.Map(slow)
    assert [examples for examples, _ in took] == [16, 16]
    assert max(seconds for _, seconds in took) < 1000  # the later step takes 16,000 s for each batch


def test_the_number_of_incomplete_batches_is_bounded(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[int] = []
    real = _ExplainElements._flush

    def flush(self: _ExplainElements, key: Any) -> Any:
        most.append(len(self._batches))
        return real(self, key)

    monkeypatch.setattr(_ExplainElements, "_flush", flush)
    monkeypatch.setattr("beam_pipelines.transforms.attribute._MAX_BATCHES", 3)
    ids = [(f"{i:03}", {"ids": RNG.integers(1, 8, 2 + i % 9)}) for i in range(27)]
    with make_pipeline() as p:
        attributions = p | beam.Create(ids) | Attribute(texts, ["gradient_x_input"])
        assert_that(
            attributions.explained | beam.combiners.Count.Globally(), lambda n: np.testing.assert_equal(n, [27])
        )
    assert max(most) == 4


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda m: Attribute(m, ["salience"]), UnknownMethodError, "did you mean saliency"),
        (lambda m: Attribute(m, []), ParameterError, "at least one"),
        (lambda m: Attribute(m, ["intgrad", "integrated_gradients"]), ParameterError, "different methods"),
        (lambda m: Attribute(m, {"occlusion": {"window": 3}}), ParameterError, "did you mean window_shape"),
        (lambda m: Attribute(m, ["saliency"], target="best"), ParameterError, "expected predicted, label"),
        (
            lambda m: Attribute(m, ["saliency"], only="wrong"),
            ParameterError,
            "'wrong' is unknown; expected misclassified",
        ),
        (lambda m: WriteAttributions(m, name="../up"), ParameterError, "expected letters"),
    ],
)
def test_mistakes_are_reported_when_the_pipeline_is_built(build: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        build("model")


def test_the_manifest_has_a_picture_of_an_array_baseline() -> None:
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
