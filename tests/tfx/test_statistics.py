"""The statistics of attributions: their numbers are those of the stores, and TFDV's and TFX's own tools work on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tfx  # noqa: F401 - before TFDV, as in statistics.py

# isort: split
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tfx.components.distribution_validator.executor import Executor as DistributionValidator
from tfx.proto import distribution_validator_pb2
from tfx.types import standard_artifacts

from beam_pipelines.tfx import statistics
from beam_pipelines.tfx.component import AttributionGen
from beam_pipelines.tfx.statistics import FILE_NAME
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import value_names
from tests.docs import pages
from tests.tfx import artifacts
from tests.tfx.artifacts import FEATURES, make_rows, write_examples

LABELS = ("stays", "leaves")
MOST_SLICES = 3  # each costs time


class Explained(NamedTuple):
    """A model's store and statistics of a span."""

    frame: pd.DataFrame  # one row for each example: attributions, label, predicted, plan
    artifact: Any  # of the statistics

    def load(self) -> Any:
        return tfdv.load_stats_binary(f"{self.artifact.uri}/Split-eval/{FILE_NAME}")


def explain(folder: Path, rows: Sequence[dict[str, Any]], seed: int, methods: Any, method: str) -> Explained:
    folder.mkdir()
    sliced = [{**row, "plan": "gold" if i % 3 else "silver", "number": i} for i, row in enumerate(rows)]
    inputs = {
        "examples": write_examples(folder / "examples", {"eval": sliced}),
        "model": artifacts.save_model(folder / "model", artifacts.make_network(seed)),
    }
    parameters = {"methods": methods, "labels": list(LABELS), "slice_features": ["plan", "number"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "MOST_SLICES", MOST_SLICES)
        output = artifacts.run_component(AttributionGen, folder / "out", inputs, **parameters)
    store = Store(store_path(output.uri, "Split-eval", "default"))
    numbers = [i for i, row in enumerate(store.index.to_pylist()) if row["method"] == method]
    maps = [
        dict(zip(value_names(example["inputs"], example["features"]), values.ravel().tolist(), strict=True))
        for values, example in zip(store.maps(numbers), store.inputs(numbers), strict=True)
    ]
    columns = {"label": "label", "predicted": "predicted", "plan": "slice.plan"}
    frame = pd.DataFrame(maps).assign(
        **{name: store.index[column].take(numbers).to_pylist() for name, column in columns.items()}
    )
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri, artifact.split_names = f"{output.uri}-statistics", '["eval"]'
    return Explained(frame, artifact)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    folder = tmp_path_factory.mktemp("first") / "span"
    return explain(folder, make_rows(200, 1), 0, "gradient_x_input", "gradient_x_input")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    """The same model on other examples."""
    folder = tmp_path_factory.mktemp("later") / "span"
    return explain(folder, make_rows(200, 2), 0, "gradient_x_input", "gradient_x_input")


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    """Another model on the same examples, explained by two methods."""
    folder = tmp_path_factory.mktemp("retrained") / "span"
    return explain(folder, make_rows(200, 1), 5, ["saliency", "gradient_x_input"], "gradient_x_input")


def column(dataset: Any, name: str) -> Any:
    [feature] = [each for each in dataset.features if list(each.path.step) == [name]]
    return feature


def test_numbers_are_those_of_the_store(first: Explained) -> None:
    """Over all examples and in each slice; of a slice feature with many values in the largest slices."""
    loaded = first.load()
    of_numbers = [each for each in loaded.datasets if each.name.startswith("number_")]
    assert len(of_numbers) == MOST_SLICES and {each.num_examples for each in of_numbers} == {1}
    datasets = {each.name: each for each in loaded.datasets if each not in of_numbers}
    slices = {"All Examples": first.frame}
    for name in ("label", "predicted"):
        slices |= {f"{name}_{LABELS[number]}": rows for number, rows in first.frame.groupby(name)}
    slices |= {f"plan_{plan}": rows for plan, rows in first.frame.groupby("plan")}
    assert len(slices) == 7
    assert set(datasets) == set(slices) and loaded.datasets[0].name == "All Examples"
    for key, rows in slices.items():
        dataset, values = datasets[key], rows[list(FEATURES)]
        assert dataset.num_examples == len(rows)
        assert [list(each.path.step) for each in dataset.features] == [[name] for name in sorted(FEATURES)]
        shares = values.abs().sum() / values.abs().to_numpy().sum()
        for name in FEATURES:
            numbers = column(dataset, name).num_stats
            expected = values[name]
            assert numbers.mean == pytest.approx(expected.mean(), abs=1e-3)
            assert numbers.std_dev == pytest.approx(expected.std(ddof=0), rel=1e-2)
            assert (numbers.min, numbers.max) == pytest.approx((expected.min(), expected.max()), rel=1e-2)
            assert numbers.median == pytest.approx(expected.median(), abs=0.1 * expected.std())
            histogram, quantiles = numbers.histograms
            assert sum(bucket.sample_count for bucket in histogram.buckets) == pytest.approx(len(rows), rel=1e-2)
            assert quantiles.type == quantiles.QUANTILES and len(quantiles.buckets) == 10
            custom = {each.name: each.num for each in column(dataset, name).custom_stats}
            assert custom == pytest.approx(
                {"mean_absolute": expected.abs().mean(), "share_of_total": shares[name]}, rel=1e-2
            )


def test_columns_of_several_methods_begin_with_the_method(retrained: Explained) -> None:
    dataset = tfdv.get_slice_stats(retrained.load(), "All Examples").datasets[0]
    shares: dict[str, float] = {}
    for feature in dataset.features:
        method, name = feature.path.step[0].split("/")
        assert name in FEATURES
        shares[method] = shares.get(method, 0) + feature.custom_stats[1].num
    assert shares == pytest.approx({"saliency": 1, "gradient_x_input": 1})
    mean = column(dataset, "gradient_x_input/dose").num_stats.mean
    assert mean == pytest.approx(retrained.frame["dose"].mean(), abs=1e-3)


def test_tfdv_shows_them(first: Explained, later: Explained) -> None:
    html = tfdv.get_statistics_html(first.load(), later.load())
    assert "facets-overview" in html
    [code] = [
        block.text for block in pages.blocks(pages.ROOT / "docs" / "tfx.md") if "visualize_statistics(" in block.text
    ]
    names = {"uri": later.artifact.uri, "last_uri": first.artifact.uri}
    assert code.startswith("import tfx ")  # TFDV alone cannot be imported in each environment that TFX supports
    exec(compile(code.replace('"occlusion/age"', '"dose"'), "docs/tfx.md", "exec"), names)
    assert tfdv.get_feature(names["schema"], "dose").drift_comparator.jensen_shannon_divergence.threshold == 0.1  # type: ignore[arg-type]


def with_columns_of_one_method(statistics: Any) -> Any:
    """The columns of gradient × input by name, as a store of this method alone has them."""
    for dataset in statistics.datasets:
        kept = [each for each in dataset.features if each.path.step[0].startswith("gradient_x_input/")]
        for feature in kept:
            feature.path.step[0] = feature.path.step[0].removeprefix("gradient_x_input/")
        del dataset.features[:]
        dataset.features.extend(kept)
    return statistics


@pytest.mark.parametrize(("comparator", "argument"), [("drift", "previous_statistics"), ("skew", "serving_statistics")])
def test_tfdvs_comparators_tell_another_model_from_other_examples(
    comparator: str, argument: str, first: Explained, later: Explained, retrained: Explained
) -> None:
    schema = tfdv.infer_schema(first.load())
    for name in FEATURES:
        feature = tfdv.get_feature(schema, name)
        getattr(feature, f"{comparator}_comparator").jensen_shannon_divergence.threshold = 0.1
    same = tfdv.validate_statistics(later.load(), schema, **{argument: first.load()})
    assert not same.anomaly_info
    other = with_columns_of_one_method(retrained.load())
    drifted = tfdv.validate_statistics(other, schema, **{argument: first.load()})
    assert {info.path.step[0] for info in drifted.anomaly_info.values()} == set(FEATURES)
    measured = {info.path.step[0]: getattr(info, f"{comparator}_measurements")[0] for info in drifted.drift_skew_info}
    assert all(each.value > 0.1 for each in measured.values())


def test_tfxs_distribution_validator_takes_them(first: Explained, later: Explained, tmp_path: Path) -> None:
    config = distribution_validator_pb2.DistributionValidatorConfig()
    rule = config.default_slice_config.feature.add()
    rule.path.step.append("dose")
    rule.distribution_comparator.jensen_shannon_divergence.threshold = 0.1
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.uri = str(tmp_path)
    properties = {"distribution_validator_config": config, "include_split_pairs": "null"}
    inputs = {"statistics": [later.artifact], "baseline_statistics": [first.artifact]}
    DistributionValidator().Do(inputs, {"anomalies": [anomalies]}, properties)
    assert list(tmp_path.rglob("SchemaDiff.pb"))
