"""Writes the same rows in every format (`WRITERS`), and damages files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.reading.formats import FORMATS
from tests.pipeline_runs import write_records

Rows = Sequence[Mapping[str, Any]]


def make_rows(n: int) -> list[dict[str, Any]]:
    """Rows for the model of four numbers; their values are exact in every format."""
    rng = np.random.default_rng(3)
    return [{"x": rng.integers(-8, 8, 4) / 4, "label": i % 2, "id": f"row, {i}\n"} for i in range(n)]


def to_jsonl(rows: Rows) -> bytes:
    plain = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()} for row in rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in plain)


def to_csv(rows: Rows, delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(json.dumps(v.tolist()) if isinstance(v, np.ndarray) else v for v in row.values())
    return text.getvalue().encode()


def write_parquet(path: Path, rows: Rows, group: int = 2) -> Path:
    columns = {k: [v.tolist() if isinstance(v := row[k], np.ndarray) else v for row in rows] for k in rows[0]}
    pq.write_table(pa.table(columns), path, row_group_size=group, write_page_checksum=True)
    return path


def to_arrays(rows: Rows) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def write_npz(path: Path, rows: Rows, save: Callable[..., None] = np.savez) -> Path:
    save(path, **to_arrays(rows))
    return path


def write(path: Path, content: bytes) -> Path:
    """Writes the content, compressed if the name ends in .gz."""
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


WRITERS: dict[str, Callable[[Path, Rows], Path]] = {
    "a.tfrecord": write_records,
    "a.tfrecord.gz": lambda path, rows: write_records(path, rows, "GZIP"),
    "a.parquet": write_parquet,
    "a.pq": lambda path, rows: write_parquet(path, rows, 1000),
    "a.csv": lambda path, rows: write(path, to_csv(rows)),
    "a.tsv": lambda path, rows: write(path, to_csv(rows, "\t")),
    "a.csv.gz": lambda path, rows: write(path, to_csv(rows)),
    "a.jsonl": lambda path, rows: write(path, to_jsonl(rows)),
    "a.jsonl.gz": lambda path, rows: write(path, to_jsonl(rows)),
    "a.npz": write_npz,
    "a_.npz": lambda path, rows: write_npz(path, rows, np.savez_compressed),
}
# Files that can only be read from their start: one work unit.
SEQUENTIAL = {*(name for name in WRITERS if name.endswith(".gz")), "a_.npz"}
# Formats in which every line of text is a record, so that planning accepts a file of another content.
ACCEPT_ANY_LINE = {"jsonl"}
# Formats of the table that no single file shows; they have tests of their own.
FOLDERS = {row.id for row in FORMATS.values() if row.folders or row.marker_files}


def format_of(name: str) -> str:
    """The format that the name of a file stands for."""
    return next(row.id for row in FORMATS.values() if name.removesuffix(".gz").endswith(row.suffixes))


def damage(path: Path, at: int, value: bytes = b"\xff") -> Path:
    """The file, with bytes from `at` on overwritten."""
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def member_offset(path: Path, name: str) -> int:
    """The offset of a member of an .npz."""
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo(name).header_offset
