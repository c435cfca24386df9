"""Files that are made to stop a server, and files of other stores: each is one sentence, soon, and the page goes on."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from werkzeug.test import Client

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import routes, thumbnails, tolerant_reads
from tb_deepexplain.store import row_groups, shard_checks
from tb_deepexplain.store.layout import MANIFEST, store_path
from tb_deepexplain.store.manifest import MOST_BYTES
from tb_deepexplain.store.records import Attribution, Input
from tests.plugin import hostile_manifests, stores
from tests.plugin.api_client import get, page, summary
from tests.plugin.conftest import ROOT
from tests.plugin.small_stores import ODD, odd_store, small_store

CASES = int(os.environ.get("FUZZ_CASES", "6"))  # of each generator; `make fuzz` sets more
R = {"run": "r", "store": "s"}


@pytest.fixture(scope="module")
def every_modality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log directory with a small store of each modality."""
    logdir = tmp_path_factory.mktemp("hostile")
    stores.write_image_store(logdir, "image", "s", count=6)
    small_store(logdir, "text")
    table = Input("0", "tabular", values=[1.0, 2.0], features=["a", "b"])
    maps = [Attribution("0", m["id"], np.float32([1, 2]), target=1, predicted=1) for m in stores.METHODS[:2]]
    odd_store(logdir, "tabular", [(table, maps)], run="tabular")
    stores.write_mixed_store(logdir, "mixed", "s")
    return logdir


def answers(client: Client, run: str) -> list[tuple[str, int]]:
    """(route, status) of a request to every route. Each answer is as the API describes it, and so not 500."""
    infos = {info["run"]: info for info in get(client, "/api/stores").json["stores"]}
    query = get(client, "/api/query", run=run, store="s").json if "error" not in infos[run] else None
    example, method = (query["id"] or ["0"])[0] if query else "0", "saliency"
    listed = hostile_manifests.requests(run, "s", example, method)
    return [(route, get(client, route, **request).status_code) for route, request in listed]


def test_a_mutated_manifest_is_a_sentence_and_other_stores_work(
    every_modality: Path, served: Callable[..., Client], tmp_path: Path
) -> None:
    logdir = shutil.copytree(every_modality, tmp_path / "logdir")
    client, rng = served(logdir), random.Random(20)
    statuses: list[int] = []
    for number in range(CASES):
        run = ("image", "text", "tabular", "mixed")[number % 4]
        path = store_path(logdir, run, "s") / MANIFEST
        manifest = path.read_text(encoding="utf-8")
        mutated = hostile_manifests.mutate(json.loads(manifest), rng)
        path.write_text(mutated, encoding="utf-8")
        for route, request in hostile_manifests.requests(run, "s", "0", "saliency"):
            answer = get(client, route, **request)  # as described: 500 is not
            statuses.append(answer.status_code)
            if route == "/api/stores":
                others = [info for info in answer.json["stores"] if info["run"] != run]
                assert len(others) == 3 and not any("error" in info for info in others)
        path.write_text(manifest, encoding="utf-8")
    assert {200, 503} <= set(statuses)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("counts", [1], "counts is a list; expected an object"),
        ("counts", True, "counts is true; expected an object"),
        ("counts", {"examples": True, "maps": 1, "errors": 0}, "counts.examples is true; expected a whole number"),
        ("counts", {"examples": -1, "maps": 1, "errors": 0}, "counts.examples is the number -1; expected a whole number"),
        ("methods", [{"id": {}, "title": "t", "signed": True}], "methods[0].id is an object; expected text"),
        ("methods", [{"id": "x", "signed": True}], "methods[0] lacks 'title'"),
        ("modality", "kind", "modality is the text 'kind'; expected 'image' or 'text' or 'tabular' or 'mixed'"),
        ("evaluation", {"advice": "", "ranked_by": 3, "methods": []}, "evaluation.ranked_by is the number 3; expected a list"),
        ("labels", ["a", 3, None], "labels[2] is null; expected text"),
        ("labels", ["\ud800"], "expected text without lone surrogates"),
        ("index", ["../x"], "index[0] is the text '../x'; expected the name of a file"),
        ("options", {"a": [[[[]]]]}, None),
        ("options", json.loads("[" * 40 + "]" * 40), "more than 32 deep"),
        ("faithfulness", {"saliency": {"deletion": {"at": [0, 1]}}}, None),
        ("a key of a later version", {"any": [1]}, None),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_schema_is_named(
    tmp_path: Path, served: Callable[..., Client], key: str, value: Any, reason: str | None
) -> None:
    path = small_store(tmp_path, "r") / MANIFEST
    small_store(tmp_path, "z")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    bad, good = get(served(tmp_path), "/api/stores").json["stores"]
    assert "error" not in good
    if reason is None:
        assert "error" not in bad
    else:
        assert "this store's manifest cannot be read: " in bad["error"] and reason in bad["error"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\ud800", b"\xff\xfe", "x" * (MOST_BYTES + 1)]
)
def test_a_manifest_that_is_no_json_or_too_large_is_a_sentence(
    tmp_path: Path, served: Callable[..., Client], text: str | bytes
) -> None:
    path = small_store(tmp_path, "r") / MANIFEST
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    (info,) = get(served(tmp_path), "/api/stores").json["stores"]
    assert "this store's manifest cannot be read: " in info["error"] and len(info["error"]) < 400


def claims(width: int, height: int) -> bytes:
    """A PNG whose header claims these sides; of its pixels there are none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(9)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def picture_row(name: str, picture: bytes) -> tuple[Input, list[Attribution]]:
    return Input(name, "image", image=picture), [
        Attribution(name, "saliency", np.ones((4, 4, 3), np.float32), target=1)
    ]


@pytest.mark.parametrize("sides", [(22_000, 22_000), (12_000, 12_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, served: Callable[..., Client], sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = stores.png(np.zeros((300, 300, 3), np.uint8))
    odd_store(tmp_path, "image", [picture_row("0", claims(*sides)), picture_row("1", small)])
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", _refuse_large(ImageFile.ImageFile.load))
    rows = page(served(tmp_path), **ODD, sort="id", desc=0).header["rows"]
    assert "pixels" in rows[0]["input"]["error"] and "error" not in rows[0]["maps"][0]
    assert "error" not in rows[1]["input"]


def _refuse_large(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def refuse(image: Any) -> Any:
        assert image.size[0] <= 1000, "a picture of too many pixels was decoded"
        return load(image)

    return refuse


def test_the_pictures_of_a_page_have_a_number_of_pixels_together(
    tmp_path: Path, served: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = stores.png(np.zeros((300, 300, 3), np.uint8))
    odd_store(tmp_path, "image", [picture_row(str(i), picture) for i in range(4)])
    monkeypatch.setattr(thumbnails, "MOST_PIXELS_OF_PAGE", 100_000)
    rows = page(served(tmp_path), **ODD, sort="id", desc=0).header["rows"]
    errors = [row["input"].get("error", "") for row in rows]
    assert [bool(error) for error in errors] == [False, False, True, True] and "show fewer examples" in errors[2]


def test_one_answer_reads_a_number_of_bytes(
    tmp_path: Path, served: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_store(tmp_path, "r", examples=12)
    monkeypatch.setattr(tolerant_reads, "MOST_BYTES", 1)
    cells = [row["maps"][0].get("error", "") for row in page(served(tmp_path), **R).header["rows"]]
    assert any(not error for error in cells) and any("show fewer examples" in error for error in cells)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    """Write a file of a store again; its metadata are kept."""
    with pq.ParquetFile(path) as file:
        table = file.read()
        metadata = {k: v for k, v in (file.metadata.metadata or {}).items() if not k.startswith(b"ARROW")}
    changed = change(table)
    pq.write_table(changed.replace_schema_metadata(metadata), path, compression="zstd", **options)


def test_row_groups_that_claim_too_much_are_refused(
    tmp_path: Path, served: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = small_store(tmp_path, "r", examples=2) / "attributions-00001.parquet"
    large = pa.array([bytes(8 << 20)] * 2, pa.binary())

    def enlarge(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index("attribution"), table.field("attribution"), large)

    rewrite(shard, enlarge, use_dictionary=False)
    assert shard.stat().st_size < 20_000
    monkeypatch.setattr(row_groups, "MOST_BYTES", 4 << 20)
    rows = page(served(tmp_path), **R, sort="id", desc=0).header["rows"]
    assert "error" not in rows[0]["maps"][0]
    assert "would take 16 MiB decompressed; at most 4 MiB are read" in rows[1]["maps"][0]["error"]


def test_the_headers_of_pages_count_whatever_the_footer_says() -> None:
    def varint(number: int) -> bytes:
        zigzag, out = number << 1, b""
        while zigzag >= 128:
            out, zigzag = out + bytes([zigzag & 127 | 128]), zigzag >> 7
        return out + bytes([zigzag])

    dictionary = b"\x15" + varint(2) + b"\x15" + varint(1_700_000_000) + b"\x15" + varint(10) + b"\0" + bytes(10)
    with pytest.raises(StoreError, match="would take 1,621 MiB decompressed"):
        row_groups._CheckedFile(io.BytesIO(dictionary), "shard").read(1000)
    for damaged in (dictionary[:5], b"\x15" * 40, b"\xff" * 40, bytes(40)):
        with pytest.raises(StoreError, match="shard cannot be read"):
            row_groups._CheckedFile(io.BytesIO(damaged), "shard").read(1000)


def test_copies_of_a_long_text_in_a_dictionary_count(
    tmp_path: Path, served: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = small_store(tmp_path, "r", examples=2) / "inputs-00001.parquet"
    tokens = pa.array([["x" * 100_000] * 80], pa.list_(pa.string()))
    rewrite(shard, lambda table: replace_tokens(table, tokens))
    assert shard.stat().st_size < 20_000
    monkeypatch.setattr(row_groups, "MOST_BYTES", 4 << 20)
    rows = page(served(tmp_path), **R, sort="id", desc=0).header["rows"]
    assert "error" not in rows[0]["input"] and "would take 7 MiB" in rows[1]["input"]["error"]


def test_claims_of_many_values_are_refused(
    tmp_path: Path, served: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = small_store(tmp_path, "r", examples=2) / "inputs-00001.parquet"
    tokens = pa.array([["a"] * 3000], pa.list_(pa.string()))
    rewrite(shard, lambda table: replace_tokens(table, tokens))
    client = served(tmp_path)
    for module, limit, reason in (
        (row_groups, "MOST_VALUES", "values; at most 1,000 are read"),
        (shard_checks, "MOST_ITEMS", "hold 3,000 tokens"),
    ):
        monkeypatch.setattr(module, limit, 1000)
        rows = page(client, **R, sort="id", desc=0).header["rows"]
        assert "error" not in rows[0]["input"] and reason in rows[1]["input"]["error"]
        monkeypatch.undo()


def replace_tokens(table: pa.Table, tokens: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index("tokens"), table.field("tokens"), tokens)


@pytest.mark.parametrize("table", ["attributions", "inputs"])
def test_a_shard_of_another_unit_is_refused(tmp_path: Path, served: Callable[..., Client], table: str) -> None:
    directory = small_store(tmp_path, "r", examples=3)
    first, second = (directory / f"{table}-{unit}.parquet" for unit in ("00000", "00001"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    rows = page(served(tmp_path), **R, sort="id", desc=0).header["rows"]
    cells = [row["input"] if table == "inputs" else row["maps"][0] for row in rows]
    assert ["holds the unit" in cell.get("error", "") for cell in cells] == [True, True, False]


@pytest.mark.parametrize("table", ["attributions", "inputs"])
def test_a_shard_of_another_run_is_refused(tmp_path: Path, served: Callable[..., Client], table: str) -> None:
    rows = {name: picture_row(name, stores.png(np.zeros((8, 8, 3), np.uint8))) for name in ("0", "1")}
    odd_store(tmp_path, "image", [rows["0"]], run="odd")
    odd_store(tmp_path, "image", [rows["1"]], run="other")
    one, other = (store_path(tmp_path, run, "s") / f"{table}-0.parquet" for run in ("odd", "other"))
    shutil.copy(other, one)
    (row,) = page(served(tmp_path), **ODD).header["rows"]
    cell = row["input"] if table == "inputs" else row["maps"][0]
    assert "holds example '1' where the index names '0'" in cell["error"]


def test_files_of_other_stores_in_any_place_are_sentences(
    every_modality: Path, served: Callable[..., Client], tmp_path: Path
) -> None:
    logdir = shutil.copytree(every_modality, tmp_path / "logdir")
    client, rng = served(logdir), random.Random(3)
    files = [path for path in sorted(logdir.rglob("*.parquet")) if not path.name.startswith("errors")]
    for _ in range(CASES // 2):
        target, source = rng.sample(files, 2)
        content, manifest = target.read_bytes(), next(target.parent.glob(MANIFEST))
        shutil.copy(source, target)
        manifest.touch()
        run = target.relative_to(logdir).parts[0]
        for route, request in hostile_manifests.requests(run, "s", "0", "saliency"):
            get(client, route, **request)
        target.write_bytes(content)


def test_an_index_of_another_number_of_maps_is_refused(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory, other = small_store(tmp_path, "r"), small_store(tmp_path, "other", examples=2)
    shutil.copy(next(other.glob("index-*")), next(directory.glob("index-*")))
    answer = get(served(tmp_path), "/api/query", **R)
    assert answer.status_code == 503 and "its index has 4 rows, and its manifest names 8 maps" in answer.text


def test_a_shard_without_a_column_and_one_of_another_type_are_refused(
    tmp_path: Path, served: Callable[..., Client]
) -> None:
    directory = small_store(tmp_path, "r", examples=3)
    rewrite(directory / "inputs-00001.parquet", lambda table: table.drop_columns(["tokens"]))
    numbers = pa.array([["1"]], pa.list_(pa.string())).cast(pa.list_(pa.large_string()))
    rewrite(
        directory / "inputs-00002.parquet", lambda t: t.set_column(t.column_names.index("tokens"), "tokens", numbers)
    )
    rows = page(served(tmp_path), **R, sort="id", desc=0).header["rows"]
    errors = [row["input"].get("error", "") for row in rows]
    assert not errors[0] and "'tokens' is missing" in errors[1] and "'tokens' is of type" in errors[2]


def test_flipped_bytes_of_a_shard_never_answer_500(tmp_path: Path, served: Callable[..., Client]) -> None:
    directory, rng = small_store(tmp_path, "r", examples=2), random.Random(5)
    client, shard = served(tmp_path), directory / "attributions-00001.parquet"
    inputs, content = directory / "inputs-00001.parquet", shard.read_bytes()
    of_inputs = inputs.read_bytes()
    for number in range(CASES):
        path, original = ((shard, content), (inputs, of_inputs))[number % 2]
        damaged = bytearray(original)
        for _ in range(rng.choice((1, 4))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        (directory / MANIFEST).touch()
        page(client, **R)
        summary(client, "agreement", **R)
        path.write_bytes(original)


def test_a_long_file_name_is_not_there(client: Client) -> None:
    for name in ("a" * 300, "a" * 5000, "ä", "..", "%00"):
        answer = client.get(f"{ROOT}/static/assets/{name}.js")
        assert answer.status_code == 404, name
    assert routes._LONGEST_ASSET < 255


def test_a_measure_without_values_has_no_mean(tmp_path: Path, served: Callable[..., Client]) -> None:
    small_store(tmp_path, "r", faithfulness={"saliency": {"deletion": {"at": [0, 1]}}}, measures=stores.MEASURES[1:2])
    means = summary(served(tmp_path), "faithfulness", **R)["means"]
    assert means["saliency"]["deletion"] == {"at": [0, 1], "n": 0, "mean": None, "low": None, "high": None}
