"""Orders and pages equal what plain Python says, however a store lies: whole or with gaps, an example's maps together or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tb_deepexplain.plugin import query_string
from tb_deepexplain.plugin import store_query as grid_module
from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.store_query import Grid
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.store import StoreWriter

COUNT = 400  # more than lie near each other
METHODS = ("saliency", "deeplift", "occlusion")
SORTS = ("id", "errors", "score", "gap", "deeplift.gap", "occlusion.deletion", "deletion", "concentration")
FILTERS = (
    "",
    "is:error",
    "label:1",
    "label:one pred:!1 score>0",
    "deletion<0.5",
    "saliency.deletion<0.5",
    "id:2*",
    "gap>5%",
)


def write(directory: Path, layout: str) -> Path:
    rng = np.random.default_rng(0)
    maps, inputs = [], []
    for i in range(COUNT):
        inputs.append(Input(str(i), "tabular", label=i % 3, features=["a", "b"], values=[0.0, 1.0]))
        score, predicted = float(rng.normal()), int(rng.integers(0, 3))
        for method in METHODS:
            known = {"target": predicted, "predicted": predicted, "label": i % 3, "score": score, "baseline_score": 0.0}
            gap = float(rng.normal() / 10) if method == "deeplift" else None
            maps.append(
                Attribution(
                    str(i), method, rng.normal(size=2), gap=gap, measures={"deletion": float(rng.random())}, **known
                )
            )
    if layout == "apart":
        maps.sort(key=lambda m: METHODS.index(m.method))
    if layout == "gaps":
        maps = [m for m in maps if rng.random() < 0.9]
    writer = StoreWriter(directory, measures=["deletion"])
    with writer.shard("00000") as shard:
        shard.add(inputs=inputs, attributions=maps)
    described = [
        {"id": m, "title": m, "signed": True, "sums_to": "score - baseline_score" if m == "deeplift" else None}
        for m in METHODS
    ]
    labels = ["zero", "one", "two"]
    measured = [{"id": "deletion", "title": "Deletion", "better": "lower", "axis": "share", "parameters": {}}]
    writer.commit(
        ["00000"],
        {"name": "attributions", "kind": "tabular", "methods": described, "labels": labels, "measures": measured},
    )
    return directory


@pytest.fixture(scope="module", params=["together", "apart", "gaps"])
def grid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    directory = write(tmp_path_factory.mktemp("orders") / "plugins" / "deepexplain" / "attributions", request.param)
    found = Grid(directory, Engine([str(directory.parent)]))
    assert found._complete == (request.param != "gaps")
    return found


def known(rows: list[dict[str, object]], field: str) -> float | None:
    """A field of an example, from its rows of the index."""
    method, _, name = field.rpartition(".")
    own = [row for row in rows if not method or row["method"] == method]
    gap = lambda row: abs(row["gap"] / (row["score"] - row["baseline_score"]))  # noqa: E731
    values = [gap(row) if name == "gap" and row["gap"] is not None else row[name] for row in own]
    numbers = [float(v) for v in values if v is not None and math.isfinite(v)]  # type: ignore[arg-type]
    if not numbers:
        return None
    return float(np.mean(np.float32(numbers))) if name in ("deletion", "concentration") else max(numbers)


def is_wrong(rows: list[dict[str, object]]) -> bool:
    return rows[0]["label"] != rows[0]["predicted"]


KEEP: dict[str, Callable[[list[dict[str, object]]], bool]] = {
    "": lambda rows: True,
    "is:error": is_wrong,
    "label:1": lambda rows: rows[0]["label"] == 1,
    "label:one pred:!1 score>0": lambda rows: (
        rows[0]["label"] == 1 and rows[0]["predicted"] != 1 and rows[0]["score"] > 0
    ),  # type: ignore[operator]
    "deletion<0.5": lambda rows: (known(rows, "deletion") or 1) < 0.5,
    "saliency.deletion<0.5": lambda rows: (known(rows, "saliency.deletion") or 1) < 0.5,
    "id:2*": lambda rows: str(rows[0]["example_id"]).startswith("2"),
    "gap>5%": lambda rows: (known(rows, "gap") or 0) > 0.05,
}


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("sort", SORTS)
def test_orders(grid: Grid, sort: str, text: str) -> None:
    examples: dict[str, list[dict[str, object]]] = {}
    for row in grid.store.index.to_pylist():
        examples.setdefault(row["example_id"], []).append(row)
    kept = [id_ for id_, rows in examples.items() if KEEP[text](rows)]
    for desc in ("0", "1"):
        sign = -1 if desc == "1" else 1

        def place(id_: str, sign: int = sign) -> tuple[object, ...]:
            rows = examples[id_]
            if sort == "id":
                return (sign * int(id_),)
            value = known(rows, "gap" if sort == "errors" else sort)
            last = (value is None, sign * (value or 0))
            return (sign * is_wrong(rows), *last) if sort == "errors" else last

        expected = sorted(kept, key=place)
        window = query_string.window(
            query_string.parse(
                {"sort": sort, "desc": desc, "filter": text, "limit": "48", "offset": "3"}, query_string.WINDOW
            )
        )
        shown, total = grid.shown(window)
        assert total == len(kept)
        for got, want in zip(shown, expected[3:51], strict=True):  # of equal ones either
            assert place(got) == pytest.approx(place(want), rel=1e-6), (sort, desc)
        for id_, cells in shown.items():
            assert [(c.example_id, c.method) for c in cells] == [(id_, str(r["method"])) for r in examples[id_]]


def test_maps_together_are_read_without_a_search(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the layout is for: of maps that lie together one query is asked."""
    asked: list[str] = []
    window = query_string.window(query_string.parse({"sort": "score"}, query_string.WINDOW))
    grid.order(window)
    rows = grid._engine.rows
    monkeypatch.setattr(grid._engine, "rows", lambda sql, *more: asked.append(sql) or rows(sql, *more))
    grid.shown(window)
    together = grid.store.index["example_id"].to_pylist()[:3] == ["0"] * 3
    apart = len(METHODS) * COUNT == grid.store.index.num_rows and not together
    assert len(asked) == (2 if apart else 1)
    assert grid_module._NEAR < COUNT
