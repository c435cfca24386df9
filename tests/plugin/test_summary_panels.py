"""The panels of the Summary are what one computes from the stored maps."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr, t
from werkzeug.test import Client

from tb_deepexplain.plugin import tile_encoding
from tb_deepexplain.plugin.summary import describe_precision
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input, InputPart, Part, model_input
from tests.plugin import stores
from tests.plugin.api_client import PICTURES, REVIEWS, page, summary
from tests.plugin.small_stores import ODD, odd_store

ERROR = {"examples": 8, "median": 0.047, "worst": 0.159, "rank_correlation": 0.98}


def test_faithfulness_is_what_the_maps_columns_say(client: Client, logdir: Path) -> None:
    answer = summary(client, "faithfulness", **PICTURES)
    index = Store(store_path(logdir, "pictures", "attributions")).index.to_pandas()
    assert [m["id"] for m in answer["measures"]] == ["sensitivity_n", "deletion", "stability"]
    assert [m["id"] for m in answer["methods"]] == [m["id"] for m in stores.METHODS]
    assert (answer["examples"], answer["measured"], answer["evaluation"]) == (60, stores.MEASURED / 60, None)
    for method, rows in index.groupby("method"):
        values = rows["sensitivity_n"].dropna().to_numpy(float)
        means = answer["means"][method]["sensitivity_n"]
        half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
        assert means["n"] == len(values) and 20 < len(values) < len(rows)
        np.testing.assert_allclose([means["mean"], means["high"]], [values.mean(), values.mean() + half], rtol=1e-4)
        assert means["random"]["mean"] == pytest.approx(rows["sensitivity_n_random"].mean(), rel=1e-4)
        assert len(means["curve"]["mean"]) == len(means["at"]) == 3
    assert answer["precision"] is None
    without = summary(client, "faithfulness", **REVIEWS)
    assert without["measures"] == [] and without["means"] == {}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"precision": "float32", "precision_error": {}}, None),
        ({"mixed_precision": False}, None),
        ({"mixed_precision": True}, ("mixed", [], 0)),  # of an earlier version
        ({"precision": "tf32", "spent": {"examples_without_tf32": 7}}, ("tf32", [], 7)),
        (
            {"precision": "tf32", "precision_error": {"saliency": ERROR, "no longer": ERROR}},
            (
                "tf32",
                [
                    {"method": "saliency", "title": "Saliency", **ERROR},
                    {"method": "no longer", "title": "no longer", **ERROR},
                ],
                0,
            ),
        ),
    ],
)
def test_the_precision_of_the_maps(manifest: dict[str, Any], expected: tuple[Any, ...] | None) -> None:
    answer = describe_precision({"methods": stores.METHODS, **manifest})
    assert answer == (expected and dict(zip(("precision", "errors", "without_tf32"), expected, strict=True)))


def test_gaps_are_counted_in_bins(client: Client, logdir: Path) -> None:
    frame = Store(store_path(logdir, "pictures", "attributions")).index.to_pandas()
    rows = frame[frame["method"] == "integrated_gradients"]
    relative = (rows["gap"] / (rows["score"] - rows["baseline_score"])).abs()
    answer = summary(client, "gap", **PICTURES)
    [gaps] = answer["histograms"]
    expected, _ = np.histogram(np.minimum(relative, 2), [*answer["edges"], np.inf])
    assert gaps["method"] == "integrated_gradients" and gaps["counts"] == expected.tolist() and gaps["known"] == 60
    assert gaps["median"] == pytest.approx(relative.median(), rel=1e-4)
    filtered = summary(client, "gap", **PICTURES, filter="integrated_gradients.gap:0.01..0.02")["histograms"][0]
    bin_ = answer["edges"].index(0.01)
    assert filtered["counts"][bin_] == sum(filtered["counts"]) == gaps["counts"][bin_] > 0


def test_agreement_is_that_of_the_stored_maps(client: Client, logdir: Path) -> None:
    for query, modality in ((PICTURES, "image"), (REVIEWS, "text")):
        answer = summary(client, "agreement", **query, filter="id:img-000*,review-00*")
        store = Store(store_path(logdir, query["run"], "attributions"))
        rows = store.index.select(["example_id", "method"]).to_pylist()
        [pair] = [p for p in answer["pairs"] if (p["a"], p["b"]) == ("gradient_x_input", "integrated_gradients")]
        values = []
        for example in sorted(
            {r["example_id"] for r in rows if "-000" in r["example_id"] or "-00" in r["example_id"][6:9]}
        ):
            at = [i for i, r in enumerate(rows) if r["example_id"] == example and r["method"] in (pair["a"], pair["b"])]
            if len(at) == 2:
                a, b = (tile_encoding.merge_channels(m, True) if modality == "image" else m for m in store.maps(at))
                if modality == "text":
                    [text] = store.inputs(at[:1])
                    a, b = (m[np.array([t != "" for t in text["tokens"]])] for m in (a, b))
                if a.any() and b.any():
                    values.append(spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic)
        assert len(values) > 5 and pair["spearman"] == pytest.approx(np.mean(values), abs=1e-5)
        assert 0 <= pair["top"] <= 1 and 0 <= pair["signs"] <= 1


def test_the_global_panel_of_each_modality(client: Client) -> None:
    pictures = summary(client, "global", **PICTURES)
    assert sum(row["n"] for row in pictures["classes"]) == pictures["sampled"] == 60
    rocket = next(row for row in pictures["classes"] if row["name"] == "<b>rocket</b> & co")
    codes = np.frombuffer(base64.b64decode(rocket["maps"]["occlusion"]), np.uint8).reshape(pictures["side"], -1)
    assert codes.shape == (48, 48) and codes.max() == 255
    words = summary(client, "global", **REVIEWS)["words"]
    means = {row["word"]: row["mean"] for row in words["integrated_gradients"]}
    assert means["awful"] < means["bad"] < 0 < means["great"] < means["best"]
    assert [row["mean"] for row in words["occlusion"]] == sorted(
        (row["mean"] for row in words["occlusion"]), reverse=True
    )
    assert min(row["mean"] for row in words["saliency"]) > 0.05  # of what has no sign, the largest only
    features = summary(client, "global", run="wine", store="attributions")["features"]["occlusion"]
    assert len(features) == 10 and all(len(f["points"]) == 30 for f in features)
    assert [f["mean"] for f in features] == sorted((f["mean"] for f in features), reverse=True)


def test_a_ranking_of_methods_is_part_of_faithfulness(tmp_path: Path, served: Callable[..., Client]) -> None:
    ranked = {
        "id": "saliency",
        "mean_rank": 1.5,
        "low": 1.0,
        "high": 2.0,
        "sanity": None,
        "evaluations": 1.0,
        "seconds": 0.1,
    }
    evaluation = {"advice": "saliency ranks first", "ranked_by": ["deletion"], "methods": [{**ranked, "best": 0.9}]}
    odd_store(tmp_path, "tabular", [], evaluation={**evaluation, "left_out": {}})
    answer = summary(served(tmp_path), "faithfulness", **ODD)
    assert answer["evaluation"] == {**evaluation, "methods": [ranked]}


PARTS: list[Part] = [
    {"input": "title", "shape": [4]},
    {"input": "price", "shape": [2]},
    {"input": "flag", "shape": [1]},
]


def _store_with_unexplained_inputs(tmp_path: Path, modality: str) -> np.ndarray:
    """Of a text with padding, two numbers and a flag that the first method cannot explain; [examples, 2 methods, 7]."""
    values = np.random.default_rng(0).normal(size=(9, 2, 7))
    values[:, :, 2:4] = 0  # padding
    values[:, 0, 6] = np.nan
    shown = [
        InputPart(input="title", modality="text", tokens=["a", "dog", "", ""]),
        InputPart(input="price", modality="tabular", values=[1.0, 2.0]),
        InputPart(input="flag", modality="tabular", values=[1.0]),
    ]
    kinds = [("title", (4,)), ("price", (2,)), ("flag", (1,))]
    inputs = [model_input(name, "float32", shape, "tabular") for name, shape in kinds]
    rows = []
    for i, maps in enumerate(values):
        stored = Input(str(i), "mixed", inputs=inputs, parts=shown)
        if modality == "tabular":
            stored = Input(str(i), "tabular", inputs=inputs, values=[float(i)] * 7)
        ids = [method["id"] for method in stores.METHODS[:2]]
        rows.append((stored, [Attribution(str(i), id_, maps[m], parts=PARTS) for m, id_ in enumerate(ids)]))
    odd_store(tmp_path, modality, rows)
    return values


def test_an_input_that_a_method_cannot_explain_is_left_out(tmp_path: Path, served: Callable[..., Client]) -> None:
    values = _store_with_unexplained_inputs(tmp_path, "mixed")
    client = served(tmp_path)
    shares = summary(client, "global", **ODD)["shares"]
    for m, method in enumerate(("saliency", "gradient_x_input")):
        sizes = np.abs(values[:, m])
        expected = {"title": sizes[:, :4].sum(1), "price": sizes[:, 4:6].sum(1), "flag": sizes[:, 6]}
        total = np.nansum(sizes, 1)
        explained = ["title", "price", "flag"][: 2 + m]
        assert [one["input"] for one in shares[method]] == explained
        means = [float((expected[name] / total).mean()) for name in explained]
        assert [one["mean"] for one in shares[method]] == pytest.approx(means, rel=1e-2)
    [pair] = summary(client, "agreement", **ODD)["pairs"]
    known = [0, 1, 4, 5]  # without padding and the flag
    correlations = [spearmanr(*np.abs(maps[:, known])).statistic for maps in values]
    assert (pair["n"], pair["spearman"]) == (9, pytest.approx(np.mean(correlations), abs=1e-5))
    parts = page(client, **ODD).map("0", "saliency")["parts"]
    assert parts[2]["share"] is None and sum(part["share"] for part in parts[:2]) == pytest.approx(1)


def test_a_feature_that_a_method_cannot_explain_is_left_out(tmp_path: Path, served: Callable[..., Client]) -> None:
    _store_with_unexplained_inputs(tmp_path, "tabular")
    features = summary(served(tmp_path), "global", **ODD)["features"]
    assert {one["feature"] for one in features["gradient_x_input"]} - {
        one["feature"] for one in features["saliency"]
    } == {"flag"}
