"""The same examples written in every format."""

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

from tests.pipeline_runs import write_records

Rows = Sequence[Mapping[str, Any]]


def rows(n: int) -> list[dict[str, Any]]:
    """For the model of four numbers: exact in every format."""
    rng = np.random.default_rng(3)
    return [{"x": rng.integers(-8, 8, 4) / 4, "label": i % 2, "id": f"row, {i}\n"} for i in range(n)]


def lines(found: Rows) -> bytes:
    plain = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()} for row in found]
    return b"".join(json.dumps(row).encode() + b"\n" for row in plain)


def table(found: Rows, delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(found[0])
    for row in found:
        writer.writerow(json.dumps(v.tolist()) if isinstance(v, np.ndarray) else v for v in row.values())
    return text.getvalue().encode()


def write_parquet(path: Path, found: Rows, group: int = 2) -> Path:
    columns = {k: [v.tolist() if isinstance(v := row[k], np.ndarray) else v for row in found] for k in found[0]}
    pq.write_table(pa.table(columns), path, row_group_size=group, write_page_checksum=True)
    return path


def arrays(found: Rows) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in found]) for name in found[0]}


def write_npz(path: Path, found: Rows, save: Callable[..., None] = np.savez) -> Path:
    save(path, **arrays(found))
    return path


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


WRITERS: dict[str, Callable[[Path, Rows], Path]] = {
    "a.tfrecord": write_records,
    "a.tfrecord.gz": lambda path, found: write_records(path, found, "GZIP"),
    "a.parquet": write_parquet,
    "a.pq": lambda path, found: write_parquet(path, found, 1000),
    "a.csv": lambda path, found: write(path, table(found)),
    "a.tsv": lambda path, found: write(path, table(found, "\t")),
    "a.csv.gz": lambda path, found: write(path, table(found)),
    "a.jsonl": lambda path, found: write(path, lines(found)),
    "a.jsonl.gz": lambda path, found: write(path, lines(found)),
    "a.npz": write_npz,
    "a_.npz": lambda path, found: write_npz(path, found, np.savez_compressed),
}


def damage(path: Path, at: int, value: bytes = b"\xff") -> Path:
    """The file with bytes overwritten."""
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def member_offset(path: Path, name: str) -> int:
    """Where a member of an .npz begins."""
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo(name).header_offset
