"""The index of a store as a table for SQL: its files, or copies of them if they are remote, and columns derived from theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin.duckdb_engine import Engine, identifier, literal
from tb_deepexplain.plugin.tolerant_reads import READ_ERRORS
from tb_deepexplain.storage import atomic_write, is_remote, open_parquet
from tb_deepexplain.store import version_1
from tb_deepexplain.store.layout import shard_file
from tb_deepexplain.store.records import INPUT_SCHEMA
from tb_deepexplain.store.row_groups import read_row_group
from tb_deepexplain.store.shard_checks import check_index
from tb_deepexplain.store.slice_features import MANIFEST_KEY, column_name

_TEXTS = "texts.parquet"
_TEXTS_OF_PARTS = ["example_id", "parts.list.element.tokens"]
_BETWEEN = "\n"  # the token between two texts, so that no phrase is found across them
_TEXT_SCHEMA = pa.schema([INPUT_SCHEMA.field(name) for name in ("example_id", "tokens")])


def finite(value: str) -> str:
    """A number as SQL; null where it is not finite. (isnan would not do: DuckDB takes the bounds in a Parquet file as proof
    that it holds no NaN, which they are not.)"""
    return f"CASE WHEN isfinite({value}) THEN {value} END"


def several_classes(name: str) -> str:
    """`labels` or `predictions` as SQL, where an example may have several classes: their numbers as text; else null."""
    return f"map_extract(extras, '{name}')[1]"


_DIFFERENCE = "(score - baseline_score)"
_LABELS, _PREDICTIONS = several_classes("labels"), several_classes("predictions")
DERIVED_COLUMNS = {
    "relative_gap": f"CASE WHEN gap = 0 THEN 0 WHEN isfinite(gap) AND isfinite{_DIFFERENCE} THEN abs(gap / {_DIFFERENCE}) END",
    # Where an example may have several classes, all of them must be right.
    "misclassified": f"coalesce({_LABELS} <> {_PREDICTIONS}, label >= 0 AND predicted >= 0 AND label <> predicted, false)",
    "correct": f"coalesce({_LABELS} = {_PREDICTIONS}, label >= 0 AND label = predicted, false)",
}


class IndexSource:
    """The index of a store in DuckDB.

    `sql` stands for its rows in a FROM clause: all columns of the files, DERIVED_COLUMNS, the values of the slice features by name
    in `slices`, and the row number `r` through all files. `columns` are those of the files.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], engine: Engine) -> None:
        self._directory = directory
        _check_names(directory, manifest["index"])
        self._modality, self._is_remote = manifest["modality"], is_remote(directory)
        has_copies = self._is_remote or self._modality == "mixed"
        self._copies = engine.local_directory() if has_copies else None
        slices = [feature["name"] for feature in manifest.get(MANIFEST_KEY) or ()]
        self.sql, self.columns = _table(
            [self._local(name) for name in manifest["index"]], slices, manifest["counts"]["maps"]
        )
        shards, input_units = (
            [name for (name,) in engine.rows(f"SELECT DISTINCT {column} FROM {self.sql}")]
            for column in ("shard", "input_shard")
        )
        _check_names(directory, [*shards, *input_units])
        self._input_units = input_units or list(manifest["units"])

    def _local(self, name: str) -> Path:
        """A path at which DuckDB can read a file of the store: that of a copy if the store is remote."""
        path = self._directory / name
        if not self._is_remote:
            return path
        assert self._copies is not None
        copy = Path(self._copies.name) / name
        path.fs.get_file(path.path, str(copy))  # type: ignore[attr-defined]
        return copy

    def text_search(self) -> str | None:
        """A query for the ids of examples whose tokens, joined to a text, hold {0}; None for a store without texts. Call `copy_texts`
        before it is run."""
        if self._modality != "text" and not self._has_text_parts():
            return None
        paths = (
            [shard_file(self._directory, "inputs", unit) for unit in self._input_units]
            if self._copies is None
            else [self._texts_copy]
        )
        files = literal(list(map(str, paths))).replace("{", "{{").replace("}", "}}")
        text = "replace(replace(array_to_string(list_filter(tokens, lambda t: t <> ''), ' '), ' ##', ''), '▁', '')"
        return f"SELECT example_id FROM read_parquet({files}) WHERE contains(lower({text}), {{0}})"

    def _has_text_parts(self) -> bool:
        """Whether the first mixed example that can be read has a text among its inputs."""
        for unit in self._input_units if self._modality == "mixed" else ():
            path = shard_file(self._directory, "inputs", unit)
            with contextlib.suppress(*READ_ERRORS), open_parquet(path) as file:
                if file.metadata.num_rows:
                    modalities = read_row_group(file, path, 0, ["parts.list.element.modality"])
                    rows = modalities.slice(0, 1).to_pylist()
                    return any(part["modality"] == "text" for part in rows[0]["parts"] or ())
        return False

    def copy_texts(self) -> None:
        """Copy the tokens of a remote store or of mixed examples, and nothing else of its inputs, unless that has been done."""
        if self._copies is None or self._texts_copy.exists():
            return
        with atomic_write(self._texts_copy) as draft, pq.ParquetWriter(draft, _TEXT_SCHEMA) as writer:
            for unit in self._input_units:
                path = shard_file(self._directory, "inputs", unit)
                is_mixed = self._modality == "mixed"
                try:
                    with open_parquet(path) as file:
                        for group in range(file.num_row_groups):
                            texts = read_row_group(
                                file, path, group, _TEXTS_OF_PARTS if is_mixed else _TEXT_SCHEMA.names
                            )
                            writer.write_table(_join_parts(texts) if is_mixed else texts.cast(_TEXT_SCHEMA))
                except StoreError:
                    raise
                except READ_ERRORS as error:
                    raise StoreError(f"{path} cannot be read ({error}); run the pipeline again") from error

    @property
    def _texts_copy(self) -> Path:
        assert self._copies is not None
        return Path(self._copies.name) / _TEXTS


def _table(files: Sequence[Path], slices: Sequence[str], maps: int) -> tuple[str, list[str]]:
    """The rows of all files as SQL, and the columns of the files. `slices`: names of the slice features. StoreError unless the files
    are those of an index of that many maps."""
    selects, start, columns = [], 0, []
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                check_index(file, path)
                columns = file.schema_arrow.names
                rows = file.metadata.num_rows
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"{path} cannot be read ({error}); run the pipeline again") from error
        missing = version_1.missing_index_columns(columns)
        upgraded = "".join(f"{sql} AS {name}, " for name, sql in missing.items())
        columns = [*columns, *missing]
        numbered = f"read_parquet({literal(str(path))}, file_row_number = true)"
        selects.append(f"SELECT *, {upgraded}file_row_number + {start} AS r FROM {numbered}")
        start += rows
    if start != maps:
        raise StoreError(
            f"{files[0].parent if files else 'the store'}: its index has {start:,} rows, and its manifest names {maps:,} maps; the index "
            "belongs to another store or run: run the pipeline again"
        )
    by_name = ", ".join(f"{literal(name)}: {identifier(column_name(name))}" for name in slices)
    columns_of_slices = {"slices": f"{{{by_name}}}" if slices else "NULL"}
    derived = ", ".join(f"{sql} AS {name}" for name, sql in (DERIVED_COLUMNS | columns_of_slices).items())
    return f"(SELECT *, {derived} FROM ({' UNION ALL BY NAME '.join(selects)}))", columns


def _join_parts(inputs: pa.Table) -> pa.Table:
    """The tokens of all texts of each mixed example."""
    tokens: list[list[str]] = []
    for parts in inputs["parts"].to_pylist():
        texts = [part["tokens"] for part in parts or () if part["tokens"]]
        tokens.append([token for text in texts for token in (*text, _BETWEEN)])
    return pa.table([inputs["example_id"], pa.array(tokens, pa.list_(pa.string()))], _TEXT_SCHEMA)


def _check_names(directory: Path, names: Sequence[Any]) -> None:
    """StoreError unless these are names of files in the store itself."""
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise StoreError(f"{directory}: it names the file {name!r} outside itself; run the pipeline again")
