"""Orders and pages equal those of plain Python, in stores with and without missing maps, and with an example's maps together or apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.example_order import MAX_SPAN, order_of
from tb_deepexplain.plugin.index_rows import page_rows
from tb_deepexplain.plugin.parameters import ExampleQuery, Selection
from tb_deepexplain.plugin.served_store import ServedStore
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.writer import StoreWriter

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
    methods = [
        {"id": m, "title": m, "signed": True, "sums_to": "score - baseline_score" if m == "deeplift" else None}
        for m in METHODS
    ]
    labels = ["zero", "one", "two"]
    measures = [{"id": "deletion", "title": "Deletion", "better": "lower", "axis": "share", "parameters": {}}]
    writer.commit(
        ["00000"],
        {"name": "attributions", "modality": "tabular", "methods": methods, "labels": labels, "measures": measures},
    )
    return directory


@pytest.fixture(scope="module", params=["together", "apart", "gaps"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ServedStore:
    directory = write(tmp_path_factory.mktemp("orders") / "plugins" / "deepexplain" / "attributions", request.param)
    store = ServedStore(directory, Engine([str(directory.parent)]))
    assert store.is_complete == (request.param != "gaps")
    return store


Rows = list[dict[str, object]]  # of the index, of one example


def field_value(rows: Rows, field: str) -> float | None:
    """A field of an example."""
    method, _, name = field.rpartition(".")
    values = [
        _relative_gap(row) if name == "gap" else row[name] for row in rows if not method or row["method"] == method
    ]
    numbers = [float(v) for v in values if v is not None and math.isfinite(v)]  # type: ignore[arg-type]
    if not numbers:
        return None
    return float(np.mean(np.float32(numbers))) if name in ("deletion", "concentration") else max(numbers)


def _relative_gap(row: dict[str, object]) -> object:
    return None if row["gap"] is None else abs(row["gap"] / (row["score"] - row["baseline_score"]))  # type: ignore[operator]


def is_misclassified(rows: Rows) -> bool:
    return rows[0]["label"] != rows[0]["predicted"]


PASSES: dict[str, Callable[[Rows], bool]] = {
    "": lambda rows: True,
    "is:error": is_misclassified,
    "label:1": lambda rows: rows[0]["label"] == 1,
    "label:one pred:!1 score>0": lambda rows: (
        rows[0]["label"] == 1 and rows[0]["predicted"] != 1 and rows[0]["score"] > 0  # type: ignore[operator]
    ),
    "deletion<0.5": lambda rows: (field_value(rows, "deletion") or 1) < 0.5,
    "saliency.deletion<0.5": lambda rows: (field_value(rows, "saliency.deletion") or 1) < 0.5,
    "id:2*": lambda rows: str(rows[0]["example_id"]).startswith("2"),
    "gap>5%": lambda rows: (field_value(rows, "gap") or 0) > 0.05,
}


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("sort", SORTS)
def test_orders(store: ServedStore, sort: str, text: str) -> None:
    examples: dict[str, Rows] = {}
    for row in store.reader.index.to_pylist():
        examples.setdefault(row["example_id"], []).append(row)
    passing = [example_id for example_id, rows in examples.items() if PASSES[text](rows)]
    for descending in (False, True):
        sign = -1 if descending else 1

        def sort_key(example_id: str, sign: int = sign) -> tuple[object, ...]:
            rows = examples[example_id]
            if sort == "id":
                return (sign * int(example_id),)
            value = field_value(rows, "gap" if sort == "errors" else sort)
            by_value = (value is None, sign * (value or 0))
            return (sign * is_misclassified(rows), *by_value) if sort == "errors" else by_value

        expected = sorted(passing, key=sort_key)
        page, total = page_rows(store, ExampleQuery(Selection(), text, sort, descending, offset=3, limit=48))
        assert total == len(passing)
        for example_id, expected_id in zip(page, expected[3:51], strict=True):  # equal ones may come in either order
            assert sort_key(example_id) == pytest.approx(sort_key(expected_id), rel=1e-6), (sort, descending)
        for example_id, rows in page.items():
            stored = [(example_id, str(row["method"])) for row in examples[example_id]]
            assert [(row.example_id, row.method) for row in rows] == stored


def test_maps_that_lie_together_are_read_by_one_query(store: ServedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of the whole index is needed only where the maps of an example lie apart."""
    queries: list[str] = []
    query = ExampleQuery(Selection(), sort="score")
    order_of(store, query)
    rows = store.engine.rows
    monkeypatch.setattr(store.engine, "rows", lambda sql, *values: queries.append(sql) or rows(sql, *values))
    page_rows(store, query)
    together = store.reader.index["example_id"].to_pylist()[:3] == ["0"] * 3
    apart = len(METHODS) * COUNT == store.reader.index.num_rows and not together
    assert len(queries) == (2 if apart else 1)
    assert MAX_SPAN < COUNT
