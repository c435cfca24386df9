"""--measures: store and manifest have the values that the evaluator computes for the same maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t

import tb_deepexplain as dx
from beam_pipelines.cli.explain import main
from beam_pipelines.transforms import Attribute, WriteAttributions
from tb_deepexplain.errors import InputError
from tb_deepexplain.evaluation.evaluator import Evaluator
from tb_deepexplain.evaluation.measures import TABLE
from tb_deepexplain.evaluation.superpixels import superpixels
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.measure_means import MeasureMeans
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.writer import StoreWriter
from tests.evaluation.settings import PICTURES_ONLY
from tests.pipeline_runs import Run, assert_same, pictures, write_records

MEASURES = "deletion,sensitivity_n,stability"
FEW = ("--deletion.steps=5", "--sensitivity_n.sizes=3", "--sensitivity_n.samples=10", "--stability.samples=2")
CURVES = ["curve", "random_curve", "at"]


def test_the_store_has_the_values_of_the_evaluator(
    image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pictures(7)
    source = write_records(tmp_path / "a.tfrecord", rows)
    assert image(source, f"--measures={MEASURES}", *FEW, "--unit_size=3", "--target=1") == 0
    store = image.store
    xs = np.stack([row["image"] for row in rows])
    spent = 0
    for method in ("saliency", "gradient_x_input"):
        explainer = dx.Explainer(method, str(image.model), target=1)
        evaluator = Evaluator(
            explainer,
            {"deletion": {"steps": 5}, "sensitivity_n": {"sizes": 3, "samples": 10}, "stability": {"samples": 2}},
        )
        measured, chance = evaluator.run(xs), evaluator.chance(xs)
        rows_of_method = sorted(
            (r for r in store.index.to_pylist() if r["method"] == method), key=lambda r: r["example_id"]
        )
        for name in MEASURES.split(","):
            values = [row[name] for row in rows_of_method]
            np.testing.assert_allclose(values, measured[name].value, rtol=1e-3, atol=1e-4)
            mean = store.manifest["faithfulness"][method][name]
            assert mean["n"] == 7
            assert mean["mean"] == pytest.approx(np.mean(values), rel=1e-4)
            assert mean["high"] - mean["mean"] == pytest.approx(
                float(t.ppf(0.975, 6)) * np.std(values, ddof=1) / 7**0.5, rel=1e-2
            )
            if name != "sensitivity_n":  # is computed for random maps and all methods at once
                spent += measured[name].evaluations.sum()
        for name in ("deletion", "sensitivity_n"):
            np.testing.assert_allclose(
                [r[f"{name}_random"] for r in rows_of_method], chance[name].value, rtol=1e-3, atol=1e-4
            )
            mean = store.manifest["faithfulness"][method][name]
            assert mean["random"]["mean"] == pytest.approx(chance[name].value.mean(), rel=1e-3, abs=1e-4)
            np.testing.assert_allclose(mean["curve"]["mean"], measured[name].curve.mean(0), rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(mean["random_curve"]["mean"], chance[name].curve.mean(0), rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(mean["at"], measured[name].at[0])
        assert all(row["stability_random"] is None for row in rows_of_method)
    spent += sum(measured.evaluations.sum() for measured in chance.values()) + 2 * 7
    assert store.manifest["spent"]["evaluations"] == spent
    assert [m["id"] for m in store.manifest["measures"]] == MEASURES.split(",")
    assert store.manifest["measures"][0]["parameters"]["steps"] == 5
    assert "deletion_curve" not in store.index.column_names
    shard = pa.parquet.read_table(next(image.directory.glob("attributions-*.parquet")))
    assert {f"deletion_{end}" for end in CURVES} <= set(shard.column_names)
    output = capsys.readouterr().out
    heads, deletion, _, stability = output[output.index("measured  ") :].splitlines()[:4]
    assert heads.split() == ["measured", "saliency", "gradient_x_input", "random", "maps"]
    means = [f"{of_method['deletion']['mean']:.3f}" for of_method in store.manifest["faithfulness"].values()]
    assert deletion.startswith("          Deletion (lower is better) ")
    assert [part for part in deletion.split() if part in means] == means
    assert stability.count("±") == 2  # random maps have none


def test_measures_do_not_depend_on_units_or_batches(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(6))
    other = Run(image.model, tmp_path / "other")
    flags = ["--measures=deletion,infidelity", "--infidelity.samples=10", "--deletion.steps=4"]
    assert image(source, *flags) == 0
    assert other(source, *flags, "--unit_size=2", "--batch_size=3") == 0
    assert_same(image, other)
    assert image.store.manifest["faithfulness"]["saliency"]["deletion"]["mean"] == pytest.approx(
        other.store.manifest["faithfulness"]["saliency"]["deletion"]["mean"], rel=1e-4
    )


def test_a_share_of_the_examples_is_measured(image: Run, tmp_path: Path) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(40))
    assert image(source, "--measures=completeness", "--measured=0.3", "--target=top:2") == 0
    rows = image.store.index.to_pylist()
    measured = {row["example_id"] for row in rows if row["completeness"] is not None}
    assert 4 <= len(measured) <= 20
    assert all((row["completeness"] is not None) == (row["example_id"] in measured) for row in rows)
    # The two maps of an example count as one.
    assert image.store.manifest["faithfulness"]["saliency"]["completeness"]["n"] == len(measured)
    other = Run(image.model, tmp_path / "other")
    assert other(source, "--measures=completeness", "--measured=0.3", "--unit_size=7", "--target=top:2") == 0
    assert {r["example_id"] for r in other.store.index.to_pylist() if r["completeness"] is not None} == measured
    assert Run(image.model, tmp_path / "none")(source, "--measures=completeness", "--measured=0") == 0


EVERY = ",".join(m.id for m in TABLE if m.id not in PICTURES_ONLY)
ONE_OF_EACH_NEED = "completeness,sensitivity_n,insertion,max_sensitivity"  # maps, random sets, curves, the method


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        pytest.param("text", EVERY, id="text", marks=pytest.mark.slow),
        pytest.param("strings", ONE_OF_EACH_NEED, id="strings"),
        pytest.param("binary", ONE_OF_EACH_NEED, id="binary", marks=pytest.mark.slow),
        pytest.param("columns", ONE_OF_EACH_NEED, id="columns", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_model_is_measured(name: str, measures: str, exported: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = {
        "text": {"ids": [1, 3, 4, 2]},
        "strings": {"text": "not a great film"},
        "binary": {"x": rng.random(4)},
        "columns": {"age": [3.0], "sizes": rng.random(4)},
    }[name]
    source = write_records(
        tmp_path / "a.tfrecord",
        [{k: np.float32(v) if np.asarray(v).dtype.kind == "f" else v for k, v in features.items()}] * 2,
    )
    run = Run(exported(name), tmp_path / "logs")
    assert run(source, f"--measures={measures}", methods="integrated_gradients") == 0
    for row in run.store.index.to_pylist():
        assert row["completeness"] < 0.02
        assert row["sensitivity_n"] > 0.3
        assert row["insertion"] is not None


def test_binary_classes_have_probabilities(exported: Any, tmp_path: Path) -> None:
    """One sigmoid unit: the curve of either class begins at the probability of that class."""
    source = write_records(
        tmp_path / "a.tfrecord", [{"x": np.float32([1, -2, 3, 0.5])}, {"x": np.float32([-1, 2, -3, 1])}]
    )
    run = Run(exported("binary"), tmp_path / "logs")
    assert run(source, "--measures=deletion", "--target=top:2", methods="saliency") == 0
    for path in run.directory.glob("attributions-*.parquet"):
        for row in pa.parquet.read_table(path).to_pylist():
            assert row["deletion_curve"][0] == pytest.approx(row["probability"], abs=1e-5)


def test_measures_in_your_own_pipeline(image: Run, tmp_path: Path) -> None:
    rows = [{"image": row["image"], "id": f"p{i}"} for i, row in enumerate(pictures(5))]
    with beam.Pipeline(runner="FnApiRunner") as p:
        attributions = (
            p | beam.Create(rows) | Attribute(str(image.model), ["saliency"], measures={"deletion": {"steps": 4}})
        )
        _ = attributions | WriteAttributions(tmp_path / "logs")
    store = Store(store_path(tmp_path / "logs", "attributions", "default"))
    assert store.manifest["faithfulness"]["saliency"]["deletion"]["n"] == 5
    assert len(store.manifest["faithfulness"]["saliency"]["deletion"]["curve"]["mean"]) == 5
    with pytest.raises(ValueError, match="expected different measures"):
        Attribute(str(image.model), ["saliency"], measures=["deletion", "deletion"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--measures=deletions"], "unknown measure 'deletions'; did you mean deletion"),
        (["--measures=deletion", "--deletion.steps=0"], "deletion: steps=0 is not accepted"),
        (["--deletion.steps=3"], "--deletion.steps: deletion is not among --measures"),
        (["--measures=deletion,deletion"], "expected different measures, separated by commas"),
        (["--measured=2"], "2 is not a share between 0 and 1"),
    ],
)
def test_bad_measures(
    image: Run, tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", pictures(1))
    assert image(source, *flags) == 2
    assert message in capsys.readouterr().err


def test_road_of_a_text_model_is_refused_before_the_run(
    exported: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_records(tmp_path / "a.tfrecord", [{"text": "a film"}])
    flags = [f"--model={exported('strings')}", f"--input={source}", f"--logdir={tmp_path}/l", "--methods=saliency"]
    assert main([*flags, "--measures=road"]) == 2
    assert "road fills in pixels and needs one picture" in capsys.readouterr().err


def test_superpixels_are_removed_as_a_whole(image: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pictures(4)
    source = write_records(tmp_path / "a.tfrecord", rows)
    flags = ["--measures=sensitivity_n", "--sensitivity_n.samples=10", "--sensitivity_n.sizes=3", "--target=1"]
    assert image(source, *flags, "--superpixels=6") == 0
    xs = np.stack([row["image"] for row in rows])
    segments = superpixels(xs, 6)
    assert segments.shape == (4, 8, 8)
    assert all(set(np.unique(one)) == set(range(one.max() + 1)) for one in segments)
    assert 3 <= segments.max() <= 12
    evaluator = Evaluator(
        dx.Explainer("saliency", str(image.model), target=1), {"sensitivity_n": {"samples": 10, "sizes": 3}}
    )
    expected = evaluator.run(xs, segments=segments)["sensitivity_n"].value
    kept = [row for row in image.store.index.to_pylist() if row["method"] == "saliency"]
    values = np.array([row["sensitivity_n"] for row in kept], np.float64)
    assert np.isfinite(values).any()
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)
    assert image(source, *flags, "--superpixels=7", "--resume") == 2
    assert "superpixels was 6, now 7" in capsys.readouterr().err
    with pytest.raises(InputError, match="expected pictures"):
        superpixels(xs[0])


def test_superpixels_need_pictures(exported: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_records(tmp_path / "a.tfrecord", [{"text": "a film"}])
    assert Run(exported("strings"), tmp_path / "l")(source, "--measures=deletion", "--superpixels=5") == 2
    assert "superpixels are parts of pictures" in capsys.readouterr().err


def test_means_leave_undefined_values_out() -> None:
    means = MeasureMeans(["m"])
    schema = pa.schema(
        [
            ("example_id", pa.string()),
            ("method", pa.string()),
            ("m", pa.float32()),
            *((f"m{w}", pa.list_(pa.float32())) for w in ("_curve", "_random_curve", "_at")),
            ("m_random", pa.float32()),
        ]
    )
    rows = [
        {"example_id": "1", "method": "a", "m": 1.0, "m_curve": [1.0, 2.0, None], "m_at": [0.0, 1.0, 2.0]},
        {"example_id": "2", "method": "a", "m": 2.0, "m_curve": [3.0, float("nan"), None], "m_at": [0.0, 1.0, 2.0]},
        {"example_id": "2", "method": "a", "m": 4.0, "m_curve": [3.0, float("nan"), None], "m_at": [0.0, 1.0, 2.0]},
        {"example_id": "3", "method": "a", "m": None},
        {"example_id": "4", "method": "b", "m": float("nan")},
    ]
    for part in (rows[:1], rows[1:]):
        means.add(pa.Table.from_pylist(part, schema))
    described = means.describe()
    assert (described["a"]["m"]["n"], described["a"]["m"]["mean"]) == (2, 2)
    # The mean of 1 and 3: two maps of one example count once.
    assert described["a"]["m"]["high"] == pytest.approx(2 + t.ppf(0.975, 1))
    assert described["a"]["m"]["curve"]["mean"] == [2, 2, None]  # an undefined point does not affect the others
    assert (described["a"]["m"]["curve"]["n"], described["a"]["m"]["curve"]["high"][1]) == (2, None)
    assert described["a"]["m"]["at"] == [0, 1, 2]
    assert described["b"]["m"]["mean"] is None


def test_a_store_without_measures(image: Run, tmp_path: Path) -> None:
    assert image(write_records(tmp_path / "a.tfrecord", pictures(1))) == 0
    assert "faithfulness" not in image.store.manifest
    assert image.store.manifest["measures"] == []
    assert not any(m.id in image.store.index.column_names for m in TABLE)
    assert StoreWriter(image.directory).finished_units()
