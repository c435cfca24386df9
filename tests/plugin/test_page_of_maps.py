"""Pages of maps and single maps hold what the store holds, for every shape, name and modality."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from werkzeug.test import Client

from tb_deepexplain.plugin.api import PANELS
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tb_deepexplain.store.records import Attribution, Input, InputPart, Part, model_input
from tests.plugin import stores
from tests.plugin.api_client import PICTURES, REVIEWS, get, page, summary
from tests.plugin.small_stores import ODD, odd_store


def test_tiles_hold_the_stored_maps(client: Client, logdir: Path) -> None:
    answer = page(client, **PICTURES, sort="id", desc=0, size=224)
    store = Store(store_path(logdir, "pictures", "attributions"))
    index = store.index.to_pylist()
    for number, row in enumerate(index[:20]):
        sent = answer.map(row["example_id"], row["method"])
        if row["example_id"] == stores.NAN and row["method"] == "occlusion":
            continue
        [stored] = store.maps([number])
        flat = np.abs(stored).max(2) if row["method"] == "saliency" else stored.sum(2)
        scale = np.abs(flat).max()
        assert sent["scale"] == pytest.approx(scale) and sent["shape"] == [96, 96]
        # A code is off by half a step at most: |dv| = 2 sqrt(|v| scale) / 254 + scale / 254².
        allowed = 2 * np.sqrt(np.abs(flat) * scale) / 254 + scale / 254**2
        assert (np.abs(answer.values(sent) - flat) <= allowed * 1.001 + 1e-12).all()
        assert sent["quantiles"] == pytest.approx(np.quantile(np.abs(flat), [0.5, 0.9, 0.95, 0.99, 1]).tolist())
        assert sent["gap"] == (None if np.isnan(row["gap"]) else pytest.approx(row["gap"]))
        relative_gap = abs(row["gap"] / (row["score"] - row["baseline_score"]))
        assert sent["relative_gap"] == (None if np.isnan(relative_gap) else pytest.approx(relative_gap, rel=1e-4))


def test_maps_of_zeros_and_not_finite_values_are_marked(client: Client) -> None:
    answer = page(client, **PICTURES, sort="id", desc=0, size=224)
    zero = answer.map(stores.ZERO, "integrated_gradients")
    assert zero["zero"] and zero["scale"] == 0 and not answer.values(zero).any()
    bad = answer.map(stores.NAN, "occlusion")
    values = answer.values(bad)
    assert bad["not_finite"] == 8 * 40 and not bad["zero"]
    assert np.isnan(values[40:48, 16:56]).all() and np.isfinite(values).sum() == 96 * 96 - 8 * 40
    assert answer.map(stores.LACKING, "gradient_x_input") is None
    small = page(client, **PICTURES, sort="id", desc=0, size=48)
    assert np.isnan(small.values(small.map(stores.NAN, "occlusion"))).sum() == 4 * 20
    # The marks for clipping do not depend on the size of the tiles.
    for method in ("saliency", "occlusion"):
        assert small.map("img-0000", method)["quantiles"] == answer.map("img-0000", method)["quantiles"]


def test_tokens_and_features_come_as_float32(client: Client) -> None:
    answer = page(client, **REVIEWS, sort="id", desc=0, limit=200)
    row = answer.row("review-pieces")
    assert row["input"]["tokens"][2] == "##believ" and row["input"]["word_ids"][1:4] == [0, 0, 0]
    sent = answer.map("review-pieces", "integrated_gradients")
    np.testing.assert_allclose(answer.values(sent), [3, 0.2, 0.5, 0.4, 0.9, 0.01, -0.2, 0.3, -3, 0, 0], rtol=2e-3)
    assert sent["length"] == 11 and sent["quantiles"][0] == pytest.approx(0.4, rel=1e-3)  # padding is not counted
    wine = page(client, run="wine", store="attributions")
    assert wine.header["rows"][0]["input"]["features"][0] == "alcohol"


def test_one_map_is_exact_and_has_its_shape_in_a_header(client: Client, logdir: Path) -> None:
    store = Store(store_path(logdir, "pictures", "attributions"))
    row = next(
        i for i, r in enumerate(store.index.to_pylist()) if (r["example_id"], r["method"]) == ("img-0002", "saliency")
    )
    [stored] = store.maps([row])
    answer = get(client, "/api/tile", **PICTURES, id="img-0002", method="saliency")
    assert json.loads(answer.headers["X-Shape"]) == [96, 96, 3]
    np.testing.assert_array_equal(np.frombuffer(answer.data, "<f4").reshape(96, 96, 3), stored)
    flat = get(client, "/api/tile", **PICTURES, id="img-0002", method="saliency", flat=1)
    np.testing.assert_array_equal(np.frombuffer(flat.data, "<f4").reshape(96, 96), stored.max(2))


@pytest.mark.parametrize("modality", ["image", "text", "tabular", "mixed"])
def test_a_store_of_no_rows_is_empty(tmp_path: Path, served: Callable[..., Client], modality: str) -> None:
    odd_store(tmp_path, modality, [])
    client = served(tmp_path)
    header = page(client, **ODD).header
    assert (header["total"], header["rows"], header["steps"], header["targets"]) == (0, [], [], None)
    for pivot in ("steps", "targets", "runs"):
        assert page(client, **ODD, pivot=pivot).header["rows"] == []
    assert get(client, "/api/facet", **ODD, sort="score").json["counts"] == []
    for name in PANELS:
        summary(client, name, **ODD)
    assert get(client, "/api/example", **ODD, id="1").status_code == 404


def test_maps_of_different_sizes_stand_side_by_side(tmp_path: Path, served: Callable[..., Client]) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number, (height, width) in enumerate([(3, 5), (200, 20), (1, 1), (64, 64)]):
        picture = rng.integers(0, 255, (height, width, 3), np.uint8)
        maps = [
            Attribution(str(number), m["id"], np.abs(rng.normal(size=(height, width, 3)))) for m in stores.METHODS[:2]
        ]
        rows.append((Input(str(number), "image", image=stores.png(picture)), maps))
    odd_store(tmp_path, "image", rows)
    client = served(tmp_path)
    answer = page(client, **ODD, sort="id", desc=0, size=32)
    assert [row["maps"][0]["full"] for row in answer.header["rows"]] == [[3, 5], [200, 20], [1, 1], [64, 64]]
    assert [row["maps"][0]["shape"] for row in answer.header["rows"]] == [[3, 5], [32, 3], [1, 1], [32, 32]]
    assert summary(client, "agreement", **ODD)["pairs"][0]["n"] == 4
    assert len(summary(client, "global", **ODD)["methods"]) == 2


def test_names_that_are_markup_or_control_characters_come_as_they_are(
    tmp_path: Path, served: Callable[..., Client]
) -> None:
    names = [
        "<img src=x onerror=alert(1)>",
        "tab\there",
        "line\nbreak",
        "nul\0",
        "\u202eright to left",
        "'; DROP TABLE m; --",
        "💥",
    ]
    tokens = ["<b>", "a\tb", "\u0007bell", "]]>", "&amp;", "", "🙂"]
    rows = [
        (
            Input(f"id {n}", "text", tokens=tokens),
            [
                Attribution(
                    f"id {n}",
                    "saliency",
                    np.ones(7),
                    target=n,
                    target_label=name,
                    label=n,
                    label_name=name,
                    predicted=n,
                )
            ],
        )
        for n, name in enumerate(names)
    ]
    odd_store(tmp_path, "text", rows)
    client = served(tmp_path)
    answer = page(client, **ODD, sort="id", desc=0)
    assert [row["label_name"] for row in answer.header["rows"]] == names
    assert answer.header["rows"][0]["input"]["tokens"] == tokens
    for n, name in enumerate(names):
        quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        assert get(client, "/api/query", **ODD, filter=f"label:{quoted}").json["id"] == [f"id {n}"], name


def test_a_hundred_thousand_classes(tmp_path: Path, served: Callable[..., Client]) -> None:
    labels = [f"class {n}" for n in range(100_000)]
    rows = [
        (
            Input(str(n), "tabular", features=["x"], values=[1.0], label=n),
            [Attribution(str(n), "saliency", np.ones(1), target=n, label=n, predicted=n if n % 2 else n - 1)],
        )
        for n in range(0, 100_000, 1000)
    ]
    odd_store(tmp_path, "tabular", rows, labels=labels)
    client = served(tmp_path)
    answer = page(client, **ODD, sort="id", desc=0)
    assert answer.header["rows"][3]["label_name"] == "class 3000" and answer.header["targets"] is None
    assert len(answer.header["rows"]) == 24
    assert get(client, "/api/query", **ODD, filter='label:"class 99000"').json["id"] == ["99000"]
    assert get(client, "/api/query", **ODD, filter='label:"class 9*"', limit=200).json["total"] == 11
    assert len(get(client, "/api/stores").data) < 5000  # the names stay on the server


def test_a_mixed_example_has_a_map_for_each_input(tmp_path: Path, served: Callable[..., Client]) -> None:
    rng = np.random.default_rng(0)
    picture, texts, values = rng.normal(size=(6, 4, 3)), rng.normal(size=(2, 3)), rng.normal(size=2)
    texts[:, 2] = 0  # padding
    kinds = [("photo", "image", (6, 4, 3)), ("title", "text", ()), ("body", "text", ()), ("price", "tabular", (2,))]
    shapes = {"photo": [6, 4, 3], "title": [3], "body": [3], "price": [2]}
    stored = Input(
        "1",
        "mixed",
        inputs=[
            model_input(name, "string" if kind == "text" else "float32", shape, kind) for name, kind, shape in kinds
        ],
        parts=[
            InputPart(input="photo", modality="image", image=stores.png(np.full((6, 4, 3), 7, np.uint8))),
            InputPart(input="title", modality="text", tokens=["a", "dog", ""]),
            InputPart(input="body", modality="text", tokens=["it", "barks", ""]),
            InputPart(input="price", modality="tabular", values=[None, 3.5], texts=["cheap", None]),
        ],
    )
    flat = np.concatenate([picture.ravel(), *texts, values])
    parts: list[Part] = [{"input": name, "shape": shape} for name, shape in shapes.items()]
    maps = [
        Attribution("1", method["id"], np.abs(flat) if method["id"] == "saliency" else flat, parts=parts)
        for method in stores.METHODS[:2]
    ]
    odd_store(tmp_path, "mixed", [(stored, maps)])
    client = served(tmp_path)
    answer = page(client, **ODD, size=32)
    assert [part["name"] for part in answer.header["rows"][0]["input"]["parts"]] == list(shapes)
    _, title, _, price = (part["input"] for part in answer.header["rows"][0]["input"]["parts"])
    assert title == {"modality": "text", "tokens": ["a", "dog", ""], "word_ids": None}
    assert (price["inputs"][0]["name"], price["values"], price["texts"]) == ("price", [None, 3.5], ["cheap", None])

    whole_map = answer.map("1", "gradient_x_input")
    sent, scale = whole_map["parts"], np.abs(picture.sum(2)).max()
    assert whole_map["scale"] == max(part["map"]["scale"] for part in sent) == pytest.approx(scale, rel=1e-3)
    drawn = np.concatenate([picture.sum(2).ravel(), texts[0, :2], texts[1, :2], values])  # without padding
    assert whole_map["quantiles"] == pytest.approx(
        np.quantile(np.abs(drawn), [0.5, 0.9, 0.95, 0.99, 1]).tolist(), rel=1e-2
    )
    np.testing.assert_allclose(answer.values(sent[0]["map"]), picture.sum(2), atol=scale / 100)
    for part, expected in zip(sent[1:], [*texts, values], strict=True):
        np.testing.assert_allclose(answer.values(part["map"]), expected, atol=1e-3)
    for part, expected in zip(sent, [picture, *texts, values], strict=True):
        assert part["sum"] == pytest.approx(expected.sum(), rel=2e-2, abs=1e-2)
        assert part["share"] == pytest.approx(np.abs(expected).sum() / np.abs(flat).sum(), rel=1e-2)

    whole = get(client, "/api/tile", **ODD, id="1", method="gradient_x_input")
    assert json.loads(whole.headers["X-Shape"]) == [flat.size]
    exact = get(client, "/api/tile", **ODD, id="1", method="saliency", input="photo")
    assert json.loads(exact.headers["X-Shape"]) == [6, 4, 3]
    np.testing.assert_allclose(np.frombuffer(exact.data, "<f4").reshape(6, 4, 3), np.abs(picture), atol=2e-3)
    merged = get(client, "/api/tile", **ODD, id="1", method="saliency", input="photo", flat=1)
    assert json.loads(merged.headers["X-Shape"]) == [6, 4]
    unknown = get(client, "/api/tile", **ODD, id="1", method="saliency", input="sound")
    assert unknown.status_code == 400 and "its parts are photo, title, body, price" in unknown.text

    shares = summary(client, "global", **ODD)["shares"]["gradient_x_input"]
    assert [one["input"] for one in shares] == list(shapes) and sum(one["mean"] for one in shares) == pytest.approx(1)
    assert summary(client, "agreement", **ODD)["pairs"][0]["n"] == 1


def test_examples_of_several_labels_are_right_if_all_classes_are(tmp_path: Path, served: Callable[..., Client]) -> None:
    names = ["cat", "dog", "sky"]
    cases = {
        "right": ("0,2", "0,2"),
        "missed": ("0,1", "0"),
        "invented": ("0", "0,1"),
        "none": ("", ""),
        "unknown": (None, "0"),
    }
    rows = []
    for name, (labels, predictions) in cases.items():
        numbers = [int(number) for number in predictions.split(",") if number] or [2]
        described = {"predictions": predictions} | ({} if labels is None else {"labels": labels})
        true = ", ".join(names[int(number)] for number in (labels or "").split(",") if number) or None
        maps = [
            Attribution(
                name,
                "saliency",
                np.ones(1),
                target=k,
                label_name=true,
                predicted=k if predictions else None,
                extras=described,
            )
            for k in numbers
        ]
        rows.append((Input(name, "tabular", features=["x"], values=[1.0]), maps))
    odd_store(tmp_path, "tabular", rows, labels=names)
    client = served(tmp_path)

    def found(text: str) -> set[str]:
        return set(get(client, "/api/query", **ODD, filter=text).json["id"])

    assert found("is:error") == {"missed", "invented"}
    assert found("is:correct") == {"right", "none"}
    assert found("has:label") == {"right", "missed", "invented", "none"}
    assert found("label:dog") == {"missed"}
    assert found("label:0") == {"right", "missed", "invented"}
    assert found("pred:dog") == {"invented"}
    assert found("pred:sky") == {"right"}
    shown = {row["id"]: row for row in page(client, **ODD).header["rows"]}
    assert shown["missed"]["label_name"] == "cat, dog"
    assert {name for name, row in shown.items() if row["misclassified"]} == {"missed", "invented"}


def test_the_map_of_a_score_function_is_that_of_no_class(tmp_path: Path, served: Callable[..., Client]) -> None:
    maps = [Attribution("a", "saliency", np.array([3.0]), score_function="my_scores:odds")]
    odd_store(
        tmp_path, "tabular", [(Input("a", "tabular", features=["x"], values=[1.0]), maps)], target="my_scores:odds"
    )
    client = served(tmp_path)
    (shown,) = page(client, **ODD).header["rows"]
    assert shown["maps"][0]["score_function"] == "my_scores:odds"
    assert shown["maps"][0]["target"] is None
    exact = get(client, "/api/tile", **ODD, id="a", method="saliency", target="sum", flat=1)
    np.testing.assert_array_equal(np.frombuffer(exact.data, np.float32), [3.0])


@pytest.mark.parametrize(
    ("label", "predicted", "extras", "expected"),
    [
        (1, 1, None, True),
        (1, 0, None, True),
        (1, None, None, False),  # a quantity
        (None, 1, None, False),
        (None, 1, {"predictions": "1"}, False),
        (None, 1, {"labels": "0,1", "predictions": "1"}, True),
    ],
)
def test_whether_examples_are_judged(
    label: int | None,
    predicted: int | None,
    extras: dict[str, str] | None,
    expected: bool,
    tmp_path: Path,
    served: Callable[..., Client],
) -> None:
    attribution = Attribution("a", "saliency", np.ones(2), label=label, predicted=predicted, score=1.0, extras=extras)
    odd_store(tmp_path, "tabular", [(Input("a", "tabular", features=["x", "y"], values=[1.0, 2.0]), [attribution])])
    assert page(served(tmp_path), **ODD).header["are_judged"] is expected
