"""Stores of format version 1, converted to version 2 as they are read. Nothing else knows version 1.

Version 1 named every value of a numeric input, such as `x[3,1]`, where version 2 stores the input's name and shape. It called
the modality `kind`, recorded no names of picture and text inputs, and a map without a target explained the sum of all units.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tb_deepexplain.errors import StoreError
from tb_deepexplain.store.records import ATTRIBUTION_SCHEMA, FORMAT_VERSION, ModelInput, model_input
from tb_deepexplain.store.records import INPUT_SCHEMA as CURRENT_INPUT_SCHEMA

INPUT_SCHEMA = pa.schema(
    [
        *(
            CURRENT_INPUT_SCHEMA.field(name)
            for name in ("example_id", "image", "tokens", "word_ids", "features", "values", "label")
        ),
        pa.field("kind", pa.string(), nullable=False),
    ]
)
_VALUE_NAME = re.compile(r"(.*)\[(\d+(?:,\d+)*)\]")

# The columns that an index of version 1 lacks, as SQL for engines that read the index files themselves. `upgrade_index` makes
# the same columns. The oldest stores also lack `input_shard`: their inputs are in the shard of the maps.
_MISSING_COLUMNS = {
    "target_index": "CASE WHEN target >= 0 THEN [target] END",
    "score_function": "CASE WHEN coalesce(target, -1) < 0 THEN 'sum' END",
    "parts": "NULL::STRUCT(input VARCHAR, shape INTEGER[])[]",
    "extras": "NULL::MAP(VARCHAR, VARCHAR)",
    "input_shard": "shard",
}


def upgrade_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of version 1 as version 2 has it; one of version 2 unchanged."""
    if manifest.get("format_version") != 1:
        return dict(manifest)
    modality = {"modality": manifest["kind"]} if "kind" in manifest else {}
    others = {name: value for name, value in manifest.items() if name != "kind"}
    if "methods" in manifest:
        others["methods"] = [_add_baseline_parameter(method) for method in manifest["methods"]]
    return {**others, **modality, "format_version": FORMAT_VERSION, "inputs": []}


def _add_baseline_parameter(method: Mapping[str, Any]) -> dict[str, Any]:
    """In version 1 the baseline was always the parameter of that name."""
    return {**method, "baseline_parameter": "baseline" if "baseline" in (method.get("parameters") or {}) else None}


def upgrade_index(index: pa.Table) -> pa.Table:
    """An index with the columns of version 2; those that are there stay as they are."""
    targets = index["target"].combine_chunks()
    explains_unit = pa.compute.fill_null(pa.compute.greater_equal(targets, 0), False)
    columns = {
        "target_index": lambda: pa.ListArray.from_arrays(
            pa.array(np.arange(len(targets) + 1, dtype=np.int32)),
            targets.fill_null(0),
            mask=pa.compute.invert(explains_unit),
        ),
        "score_function": lambda: pa.compute.if_else(explains_unit, pa.scalar(None, pa.string()), "sum"),
        "parts": lambda: pa.nulls(len(targets), ATTRIBUTION_SCHEMA.field("parts").type),
        "extras": lambda: pa.nulls(len(targets), ATTRIBUTION_SCHEMA.field("extras").type),
        "input_shard": lambda: index["shard"],
    }
    for name, make_column in columns.items():
        if name not in index.column_names:
            index = index.append_column(name, make_column())
    return index


def missing_index_columns(columns: Sequence[str]) -> dict[str, str]:
    """SQL expressions, by name, of the columns of version 2 that an index file with these columns lacks."""
    return {name: sql for name, sql in _MISSING_COLUMNS.items() if name not in columns}


def upgrade_input(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an inputs file of version 1, as version 2 has it."""
    names = row["features"]
    inputs = _parse_value_names(tuple(names)) if row["kind"] == "tabular" and names else None
    others = {name: value for name, value in row.items() if name not in ("kind", "features")}
    return {
        **others,
        "modality": row["kind"],
        "inputs": list(inputs or ()),
        "features": names if inputs is None else None,
        "texts": None,
        "parts": None,
        "extras": None,
    }


@functools.lru_cache(64)
def _parse_value_names(names: tuple[str, ...]) -> tuple[ModelInput, ...] | None:
    """The inputs that `x[0,0]`, `x[0,1]`, … stand for, in order; None if the names do not fill the shapes of inputs."""
    indices: dict[str, list[tuple[int, ...]]] = {}
    previous = None
    for name in names:
        match = _VALUE_NAME.fullmatch(name)
        name, index = (match[1], tuple(map(int, match[2].split(",")))) if match else (name, ())
        if name != previous and name in indices:
            return None
        indices.setdefault(name, []).append(index)
        previous = name
    inputs = []
    for name, positions in indices.items():
        if len({len(position) for position in positions}) > 1:
            return None
        shape = tuple(int(size) + 1 for size in np.max(np.array(positions, np.int64).reshape(len(positions), -1), 0))
        if positions != list(np.ndindex(shape)):
            return None
        inputs.append(model_input(name, "float32", shape, "tabular"))
    return tuple(inputs)


def refuse_to_continue(directory: Path) -> None:
    """StoreError: a run cannot add to a store of version 1."""
    raise StoreError(
        f"{directory} holds a store of format version 1, which can be read but not continued; --overwrite (overwrite=True) "
        "replaces it, another name makes a new one"
    )
