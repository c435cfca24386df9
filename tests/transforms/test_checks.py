"""`Attribute` refuses mistakes when a pipeline is built, when a worker starts, and while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_stream
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_pipelines.transforms import Attribute, AttributionModelHandler, WriteAttributions, request_check
from beam_pipelines.transforms.element_parser import ElementParser
from tb_deepexplain.attribution import explainer
from tb_deepexplain.errors import InputError, ParameterError, StoreError, UnsupportedModelError
from tb_deepexplain.recording import batch_explainer
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tests import models
from tests.transforms.elements import make_pipeline

ROWS = np.random.default_rng(2).random((8, 4)).astype(np.float32)
BAD = {"x": [1.0, 2.0]}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four numbers, x, with one sigmoid."""
    folder = tmp_path_factory.mktemp("model") / "numbers"
    models.binary().export(folder, verbose=False)
    return folder


def _elements(count: int, **columns: Any) -> list[Any]:
    return [(i, {"x": ROWS[i % 8], **columns}) for i in range(count)]


def _run(model: Path, elements: Any, *methods: str, **options: Any) -> Any:
    """Run a pipeline over the elements; its counters."""
    p = make_pipeline()
    _ = p | beam.Create(elements) | Attribute(model, methods or ["saliency"], **options)
    return _counters(p)


def _counters(p: beam.Pipeline) -> Any:
    result = p.run()
    result.wait_until_finish()
    return {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": 9}, ParameterError, "target 9: the model has 2 classes"),
        ({"labels": ["a", "b", "c"]}, ParameterError, "got 3 class names, but the model has 2 classes"),
        ({"features": {"y": "column"}}, ParameterError, "the model takes x"),
        ({"signature": "other"}, UnsupportedModelError, "other"),
        ({"inputs": "hidden"}, ParameterError, "hidden"),
        ({"output": "logits"}, ParameterError, "logits"),
        ({"methods": {"occlusion": {"window_shape": 9}}}, ParameterError, "window_shape"),
        ({"only": "probability>2", "score": None, "target": "top:3"}, ParameterError, "the model has only 2 classes"),
        ({"max_error_rate": 2}, ParameterError, "max_error_rate=2: expected a share between 0 and 1"),
        (
            {"model": models.binary},
            ParameterError,
            r'model is a .*; expected a path .*: write model.export\("my_model"\)',
        ),
    ],
)
def test_refused_when_the_pipeline_is_built(numbers: Path, options: Any, error: Any, message: str) -> None:
    elements = make_pipeline() | beam.Create(_elements(1))
    with pytest.raises(error, match=message):
        _ = elements | Attribute(**{"model": numbers, "methods": ["saliency"], **options})


class Customer(NamedTuple):
    age: float
    churn: int


@pytest.mark.parametrize("rows", [beam.Row(age=1.0, churn=1), Customer(1.0, 1)])
@pytest.mark.parametrize("keyed", [False, True])
def test_columns_of_rows_are_checked_when_the_pipeline_is_built(numbers: Path, rows: Any, keyed: bool) -> None:
    elements = make_pipeline() | beam.Create([(1, rows) if keyed else rows])
    with pytest.raises(
        InputError, match=r"no feature 'x' for the model's input x: float32 \[\?, 4\]; it has age, churn: name it with"
    ):
        _ = elements | Attribute(numbers, ["saliency"])
    with pytest.raises(InputError, match="label_feature='chrun': the rows have no such column; they have age, churn"):
        _ = elements | "label" >> Attribute(numbers, ["saliency"], label_feature="chrun", features={"x": "age"})
    _ = elements | "made" >> Attribute(numbers, ["saliency"], preprocess=lambda row: {"x": [row["age"]] * 4})
    _ = elements | "named" >> Attribute(numbers, ["saliency"], features={"x": "age"}, label_feature="churn")


def test_a_model_that_only_workers_see_is_checked_when_they_start(numbers: Path, tmp_path: Path) -> None:
    p = make_pipeline()
    model = tmp_path / "model"
    _ = p | beam.Create(_elements(3)) | Attribute(model, ["saliency"], target=9)
    model.symlink_to(numbers)
    with pytest.raises(ParameterError, match="target 9: the model has 2 classes, numbered from 0"):
        p.run()
    model.unlink()
    p = make_pipeline()
    _ = p | beam.Create(_elements(3)) | Attribute(model, ["saliency"])
    with pytest.raises(UnsupportedModelError, match="no model at"):
        p.run()


def test_what_this_machine_cannot_load_is_left_to_the_workers(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that the model needs, or its ops, may be installed on the workers alone."""
    error = UnsupportedModelError("the model cannot be loaded: Op type not registered 'RegexSplit'")

    def load(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("beam_pipelines.transforms.request_check.checked_pool", load)
        pcollection = make_pipeline() | beam.Create(_elements(1))
        _ = pcollection | Attribute(numbers, ["saliency"])
        error = UnsupportedModelError("the file is truncated")
        with pytest.raises(UnsupportedModelError, match="truncated"):
            _ = pcollection | "again" >> Attribute(numbers, ["saliency"])


def test_a_pipeline_is_built_without_tensorflow(numbers: Path, tmp_path: Path) -> None:
    """On a machine that has none, though it can read the model: the workers check it."""
    code = f"""if True:
        import sys
        sys.modules.update(tensorflow=None, keras=None)
        import apache_beam as beam
        from apache_beam.ml.inference.base import RunInference
        from beam_pipelines.transforms import Attribute, AttributionModelHandler, WriteAttributions
        p = beam.Pipeline("FnApiRunner")
        elements = p | beam.Create([(1, {{"x": [1.0] * 4}})])
        attribute = Attribute({str(numbers)!r}, {{"intgrad": {{"steps": 8}}}}, target=1, measures=["deletion"])
        elements | attribute | WriteAttributions({str(tmp_path)!r})
        elements | RunInference(AttributionModelHandler(attribute))
        p.to_runner_api()
        assert not attribute.is_checked
        try:
            Attribute({str(numbers)!r}, ["saliency"], target="best")
        except ValueError as error:
            print(error)
    """
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.startswith("target best: expected predicted")


def test_the_model_is_loaded_once_in_this_process(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    real = batch_explainer.load_requested_model
    monkeypatch.setattr(batch_explainer, "load_requested_model", lambda *a: loaded.append(a) or real(*a))
    with make_pipeline() as p:
        one, other = Attribute(numbers, ["saliency"]), Attribute(numbers, ["gradient_x_input"])
        for name, attribute in {"a": one, "b": one, "c": other}.items():
            _ = p | f"Create {name}" >> beam.Create(_elements(3)) | name >> attribute
    assert len(loaded) == 2


def test_a_method_of_many_evaluations_is_not_tried_when_the_pipeline_is_built(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchExplainer, "attempt", lambda *_: pytest.fail("it was tried"))
    elements = make_pipeline() | beam.Create(_elements(1))
    _ = elements | Attribute(numbers, {"shapley_sampling": {"samples": 10_000}})
    with pytest.raises(pytest.fail.Exception):
        _ = elements | "few" >> Attribute(numbers, {"shapley_sampling": {"samples": 10}})


def test_graph_and_model_are_compared_by_real_examples(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[np.ndarray] = []
    real = explainer.check_submodel

    def check(submodel: Any, arrays: Any, **options: Any) -> Any:
        compared.append(arrays[0])
        return real(submodel, arrays, **options)

    monkeypatch.setattr(explainer, "check_submodel", check)
    _run(numbers, _elements(5))
    assert not compared[0].any()
    assert all((row == ROWS).all(1).any() for row in compared[-1])


@pytest.mark.parametrize(
    ("runner", "flags", "expected"),
    [
        (FnApiRunner(), [], True),
        (FnApiRunner(), ["--direct_running_mode=multi_processing"], False),
        (FnApiRunner(SubprocessSDKEnvironment.from_command_string("worker")), [], False),
        ("DirectRunner", [], True),
        ("PrismRunner", [], True),
        ("PrismRunner", ["--environment_type=EXTERNAL", "--environment_config=host:1"], False),
        ("FlinkRunner", [], False),
        ("FlinkRunner", ["--environment_type=LOOPBACK"], True),
    ],
)
def test_where_a_pipeline_explains(runner: Any, flags: list[str], expected: bool) -> None:
    pipeline = beam.Pipeline(runner, PipelineOptions(flags))
    assert request_check.explains_here(pipeline) == expected


def test_an_error_of_the_request_ends_the_run(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few elements that all have it: a single one may have it alone."""
    real = BatchExplainer.attempt

    def attempt(self: BatchExplainer, examples: Any, *rest: Any) -> Any:
        if any(example.id in refused for example in examples):
            raise ParameterError("no such window")
        return real(self, examples, *rest)

    monkeypatch.setattr(BatchExplainer, "attempt", attempt)
    refused = {"8"}
    assert _run(numbers, _elements(9))["examples_failed"] == 1
    refused = set(map(str, range(200)))
    with pytest.raises(ParameterError, match=r"^no such window \[while running"):
        _run(numbers, _elements(200), max_error_rate=1)


def test_a_run_whose_every_element_fails_is_not_green(numbers: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"3 of 3 examples failed, more than max_error_rate=0.5 allows; one of them: .* has 2 values",
    ):
        _run(numbers, [BAD] * 3)
    assert _run(numbers, [BAD] * 3, max_error_rate=1)["examples_failed_parse"] == 3
    assert _run(numbers, [BAD] * 3 + _elements(1))["examples_failed_parse"] == 3  # so few are not judged
    with pytest.raises(StoreError, match=r"3 of 4 examples failed, more than max_error_rate=0.7 allows"):
        _run(numbers, [BAD] * 3 + _elements(1), max_error_rate=0.7)


def test_too_many_errors_end_a_run_early(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Any] = []
    real = ElementParser.parse
    monkeypatch.setattr(ElementParser, "parse", lambda self, element: parsed.append(element) or real(self, element))
    with pytest.raises(StoreError, match=r"\d+ of 100 examples failed"):
        _run(numbers, [*_elements(40), *[BAD] * 400])
    assert len(parsed) == 100
    _run(numbers, [*_elements(110), *[BAD] * 100], batch_size=512)


def test_the_errors_of_a_stream_never_end_it(numbers: Path) -> None:
    stream = test_stream.TestStream().add_elements([(i, BAD) for i in range(120)]).advance_watermark_to_infinity()
    p = beam.Pipeline("BundleBasedDirectRunner", PipelineOptions(["--streaming"]))
    _ = p | stream | Attribute(numbers, ["saliency"], label_feature="chrun")
    assert _counters(p)["examples_failed_parse"] == 120


def test_a_named_feature_that_no_element_has_is_refused(numbers: Path, tmp_path: Path) -> None:
    elements = _elements(4)
    p = make_pipeline()
    attribute = Attribute(numbers, ["saliency"], label_feature="chrun")
    _ = p | beam.Create(elements) | attribute | WriteAttributions(tmp_path)
    with pytest.raises(InputError, match="label_feature='chrun': none of the 4 elements has this feature"):
        p.run()
    assert not list(tmp_path.rglob("manifest.json"))
    with pytest.raises(InputError, match="id_feature='name': none of the 4 elements"):
        _run(numbers, [columns for _, columns in elements], id_feature="name")
    with pytest.raises(InputError, match=r"slice_features=\['city'\]: none of the 4 elements"):
        _run(numbers, [("a", {"x": ROWS[0], "city": None}), *elements[1:]], slice_features="city")
    _run(numbers, elements, id_feature="name")  # the keys are the ids
    _run(numbers, [*elements, ("labelled", {"x": ROWS[0], "churn": None})], label_feature="churn")
    _run(numbers, elements, label_feature="none")
    _run(numbers, elements, label_feature="churn", preprocess=lambda columns: {**columns, "label": 1})


def test_a_rare_feature_does_not_end_the_run_of_a_worker_that_has_not_seen_it(numbers: Path) -> None:
    rare = ("rare", {"x": ROWS[0], "city": "Bern"})
    assert _run(numbers, [*_elements(1010), rare], slice_features="city")["examples_explained"] == 1011


def test_two_writers_of_one_store_are_refused(numbers: Path, tmp_path: Path) -> None:
    attributions = make_pipeline() | beam.Create(_elements(1)) | Attribute(numbers, ["saliency"])
    _ = attributions | WriteAttributions(tmp_path, "run")
    _ = attributions | "other" >> WriteAttributions(tmp_path, "other")
    with pytest.raises(StoreError, match=r"this pipeline writes .* already; give another run or name"):
        _ = attributions | "again" >> WriteAttributions(tmp_path / ".." / tmp_path.name, "run")


def test_the_handler_counts_as_attribute_does(numbers: Path) -> None:
    from apache_beam.ml.inference.base import RunInference

    p = make_pipeline()
    handler = AttributionModelHandler(Attribute(numbers, ["saliency"], batch_size=4))
    _ = p | beam.Create([*_elements(7), BAD]) | RunInference(handler)
    result = p.run()
    result.wait_until_finish()
    counts = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}
    assert (counts["examples_explained"], counts["examples_failed"], counts["examples_failed_parse"]) == (7, 1, 1)
    assert counts["evaluations"] == 7 and counts["milliseconds_in_model"] > 0
    sizes = [d for d in result.metrics().query()["distributions"] if d.key.metric.namespace == "tb_deepexplain"]
    assert {d.key.metric.name: d.committed.sum for d in sizes}["batch_size"] == 7
    with pytest.raises(ParameterError, match="target 9: the model has 2 classes"):
        AttributionModelHandler(Attribute(numbers, ["saliency"], target=9)).load_model()
