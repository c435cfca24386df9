"""Slice features are fields of filter and sort, and part of rows and exports; the numbers are those of pandas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from werkzeug.test import Client

from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store
from tests.plugin import stores
from tests.plugin.api_client import get, page
from tests.plugin.conftest import serve

CUSTOMERS = {"run": "customers", "store": "attributions"}


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("customers")
    stores.write_customer_store(directory)
    return directory


@pytest.fixture(scope="module")
def client(logdir: Path) -> Client:
    return serve(logdir)


@pytest.fixture(scope="module")
def frame(logdir: Path) -> pd.DataFrame:
    """One row for each example."""
    return Store(store_path(logdir, "customers", "attributions")).index.to_pandas().groupby("example_id").first()


CASES: list[tuple[str, Callable[[pd.DataFrame], Any]]] = [
    ("plan:pro", lambda f: f["slice.plan"] == "pro"),
    ("PLAN:PRO,basic", lambda f: f["slice.plan"].isin(["pro", "basic"])),
    ("plan=pro", lambda f: f["slice.plan"] == "pro"),
    ("-plan:pro", lambda f: f["slice.plan"] != "pro"),
    ("plan:!p*", lambda f: ~f["slice.plan"].str.startswith("p")),
    ("city:bern age>40", lambda f: (f["slice.city"] == "Bern") & (f["slice.age"] > 40)),
    ('city:"São Paulo"', lambda f: f["slice.city"] == "São Paulo"),
    ("-city:Bern", lambda f: f["slice.city"] != "Bern"),  # also those without a city
    ("has:city", lambda f: f["slice.city"].notna()),
    ("age:30..40.5", lambda f: f["slice.age"].between(30, 40.5)),
    ("age=48", lambda f: f["slice.age"] == 48),
    ("slice.age<=48", lambda f: f["slice.age"] <= 48),
    ('"account.plan type":"pro monthly"', lambda f: f["slice.account.plan type"] == "pro monthly"),
    ('"slice.account.plan type":pro*', lambda f: f["slice.account.plan type"].str.startswith("pro")),
    ("slice.label:03", lambda f: f["slice.label"] == "03"),
    ("label:stays", lambda f: f["label"] == 1),  # the page's field keeps its name
    ("Oslo", lambda f: f["slice.city"] == "Oslo"),
    (
        "plan:team score>5 is:error",
        lambda f: (f["slice.plan"] == "team") & (f["score"] > 5) & (f["label"] != f["predicted"]),
    ),
]


@pytest.mark.parametrize(("filter_", "holds"), CASES, ids=[case[0] for case in CASES])
def test_a_filter_selects_what_pandas_selects(client: Client, frame: pd.DataFrame, filter_: str, holds: Any) -> None:
    answer = get(client, "/api/query", **CUSTOMERS, filter=filter_, limit=200)
    assert answer.status_code == 200, answer.text
    expected = sorted(frame.index[holds(frame).fillna(False)])
    assert 0 < len(expected) < len(frame)
    assert sorted(answer.json["id"]) == expected


@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("sort", ["age", "slice.age", "city", "slice.label", "account.plan type"])
def test_orders_are_those_of_pandas(client: Client, frame: pd.DataFrame, sort: str, descending: int) -> None:
    listed = get(client, "/api/query", **CUSTOMERS, sort=sort, desc=descending, limit=200, columns=f"id,{sort}").json
    column = frame[f"slice.{sort.removeprefix('slice.')}"]
    keys = column.str.lower() if column.dtype == object or str(column.dtype) in ("str", "string") else column
    expected = column[keys.sort_values(ascending=not descending, kind="stable", na_position="last").index]
    assert [value for value in listed[sort] if value is not None] == expected.dropna().tolist()
    assert listed[sort] == [None if pd.isna(value) else value for value in expected]  # those without a value are last


def test_a_histogram_of_numbers_and_none_of_texts(client: Client, frame: pd.DataFrame) -> None:
    facet = get(client, "/api/facet", **CUSTOMERS, sort="age", filter="plan:pro", bins=5).json
    ages = frame["slice.age"][frame["slice.plan"] == "pro"]
    assert facet["total"] == sum(facet["counts"]) == len(ages)
    assert (facet["edges"][0], facet["edges"][-1]) == (ages.min(), ages.max())
    assert get(client, "/api/facet", **CUSTOMERS, sort="city").json["counts"] == []


def test_stores_rows_and_examples_tell_of_them(client: Client, frame: pd.DataFrame) -> None:
    [info] = get(client, "/api/stores").json["stores"]
    assert [(one["name"], one["field"], one["type"]) for one in info["slices"]] == [
        ("plan", "plan", "text"),
        ("city", "city", "text"),
        ("age", "age", "number"),
        ("account.plan type", "account.plan type", "text"),
        ("label", "slice.label", "text"),
    ]
    assert info["slices"][0]["values"] == ["basic", "pro", "team"] and info["slices"][2]["values"] is None
    for row in page(client, **CUSTOMERS, sort="id", desc=0).header["rows"]:
        of_example = frame.loc[row["id"]]
        expected = {name: of_example[f"slice.{name}"] for name in stores.SLICES}
        assert row["slices"] == {name: value for name, value in expected.items() if not pd.isna(value)}
    maps = get(client, "/api/example", **CUSTOMERS, id="c-08").json["maps"]
    assert {(each["slice.plan"], each["slice.age"]) for each in maps} == {("team", 76)}


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_exports_have_them(client: Client, frame: pd.DataFrame, format_: str) -> None:
    text = get(client, "/api/export", **CUSTOMERS, filter="plan:pro", sort="age", format=format_).text
    lines = list(csv.DictReader(io.StringIO(text))) if format_ == "csv" else list(map(json.loads, text.splitlines()))
    expected = frame[frame["slice.plan"] == "pro"].sort_values("slice.age", ascending=False, kind="stable")
    assert [line["id"] for line in lines] == expected.index.tolist()
    assert [float(line["slice.age"]) for line in lines] == expected["slice.age"].tolist()
    assert [line["slice.label"] for line in lines] == expected["slice.label"].tolist()
    assert [line["slice.city"] or None for line in lines] == [None if pd.isna(v) else v for v in expected["slice.city"]]


@pytest.mark.parametrize(
    ("filter_", "sentence"),
    [
        ("plan>3", "'plan' is text and has no order; write plan:3"),
        ("age:old", "expected a number such as 0.9 or 5%, not 'old'"),
        ("plam:pro", "unknown field 'plam'; this store has id, label, pred"),
        ("has:plam", "has:plan"),
        ('"account.plan":x', "account.plan type, slice.label"),
    ],
)
def test_an_impossible_filter_is_refused_in_a_sentence(client: Client, filter_: str, sentence: str) -> None:
    answer = get(client, "/api/query", **CUSTOMERS, filter=filter_)
    assert answer.status_code == 400 and sentence in answer.text


@pytest.mark.parametrize("value", ["'; DROP TABLE m; --", "x') OR (1=1", "%", "_", "\\\\", "$p0"])
def test_what_a_person_types_is_never_run_as_sql(client: Client, value: str) -> None:
    answer = get(client, "/api/query", **CUSTOMERS, filter=f'city:"{value}"')
    assert answer.status_code == 200 and answer.json["total"] == 0


def test_names_of_any_characters_are_columns(tmp_path: Path) -> None:
    """Names of people's columns are neither SQL nor formats."""
    names = ['quo"ted', "it's", "a); DROP TABLE x; --", "{0}", "$p0", "Größe (cm)", "total", "slice.x", "saliency.gap"]
    directory = stores.write_tabular_store(tmp_path, count=2)
    manifest = json.loads((directory / "manifest.json").read_text())
    index = Store(directory).index
    for number, name in enumerate(names):
        index = index.append_column(f"slice.{name}", [[f"v{number}"] * index.num_rows])
    pq.write_table(index, next(directory.glob("index-*.parquet")))
    described = [{"name": name, "type": "text"} for name in names]
    (directory / "manifest.json").write_text(json.dumps({**manifest, "slice_features": described}))
    client = serve(tmp_path)
    wine = {"run": "wine", "store": "attributions"}
    fields = {one["name"]: one["field"] for one in get(client, "/api/stores").json["stores"][0]["slices"]}
    assert [fields[name] for name in names[-3:]] == ["slice.total", "slice.slice.x", "slice.saliency.gap"]
    assert fields["it's"] == "it's"
    assert page(client, **wine).header["rows"][0]["slices"] == {name: f"v{i}" for i, name in enumerate(names)}
    for number, name in list(enumerate(names))[1:]:  # no filter can name the first
        query = {**wine, "filter": f'"{fields[name]}":v{number}', "sort": fields[name]}
        assert get(client, "/api/query", **query).json["total"] == 2, name
        assert get(client, "/api/query", **query, columns=fields[name]).json[fields[name]] == [f"v{number}"] * 2
