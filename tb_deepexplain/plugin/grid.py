"""The index of a store as a grid, examples × methods: picking, filtering and sorting, vectorised."""

from __future__ import annotations

import dataclasses
import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin.params import Selection, Window
from tb_deepexplain.store import Store

_REQUIRED = ("kind", "methods", "index", "units", "version")
_ORDERS_KEPT = 8


@dataclasses.dataclass(frozen=True)
class Cells:
    """One selection: `rows[e, m]` is the index row of example e by method m, or -1; `first[e]` any row of e."""

    rows: np.ndarray
    first: np.ndarray
    examples: np.ndarray  # those that have at least one map


class Grid:
    """A committed store and what queries about it need in memory."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory)
        manifest = self.manifest = self.store.manifest
        lacking = [key for key in _REQUIRED if key not in manifest]
        if lacking:
            raise StoreError(f"{directory}: its manifest lacks {lacking[0]!r}; run the pipeline again")
        _refuse_paths(directory, manifest["index"])
        index = self.index = self.store.index
        for column in ("shard", "input_shard"):
            _refuse_paths(directory, pc.unique(index[column]).to_pylist())
        self.methods: list[dict[str, Any]] = manifest["methods"]
        ids = index["example_id"].combine_chunks().dictionary_encode()
        self.ids: pa.Array = ids.dictionary
        self._example = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        place = pc.index_in(index["method"], pa.array([m["id"] for m in self.methods], pa.string()))
        self._method = _numbers(place, np.int64, -1)
        self._step = _numbers(index["step"], np.int64, 0)
        self.target, self.label = _numbers(index["target"], np.int64, -1), _numbers(index["label"], np.int64, -1)
        self.predicted = _numbers(index["predicted"], np.int64, -1)
        self.score, self.probability = _floats(index["score"]), _floats(index["probability"])
        self.baseline_score, self.gap = _floats(index["baseline_score"]), _floats(index["gap"])
        self.steps = np.unique(self._step).tolist()
        self._lock = threading.RLock()
        self._cells = functools.lru_cache(maxsize=4)(self._pick)
        self._order = functools.lru_cache(maxsize=_ORDERS_KEPT)(self._sort)

    @property
    def nbytes(self) -> int:
        """What this grid holds in memory, as far as it grows with the store."""
        return int(self.index.nbytes * 2 + len(self.ids) * 8 * (_ORDERS_KEPT + len(self.methods)))

    @functools.cached_property
    def targets(self) -> list[dict[str, Any]] | None:
        """The output units explained, with names; None where each map exists for one target only."""
        key = (self._example * max(len(self.methods), 1) + self._method) * len(self.steps)
        key += np.searchsorted(self.steps, self._step)
        if len(np.unique(key)) == len(key):
            return None
        units, at = np.unique(self.target, return_index=True)
        found = self.index["target_label"].take(pa.array(at)).to_pylist()
        return [{"id": int(u), "name": n or self.name(int(u))} for u, n in zip(units, found, strict=True) if u >= 0]

    def name(self, unit: int) -> str | None:
        """The name of an output unit, where the store has names."""
        labels = self.manifest.get("labels") or []
        return str(labels[unit]) if 0 <= unit < len(labels) else None

    def label_names(self, rows: np.ndarray) -> list[str | None]:
        return self._names("label_name", self.label, rows)

    def target_names(self, rows: np.ndarray) -> list[str | None]:
        return self._names("target_label", self.target, rows)

    def cells(self, selection: Selection) -> Cells:
        with self._lock:
            return self._cells(selection)

    def window(self, window: Window) -> tuple[np.ndarray, int]:
        """The examples of a page, in order, and how many there are in all."""
        with self._lock:
            order = self._order(window.selection, window.filter, window.sort, window.descending)
        return order[window.offset : window.offset + window.limit], len(order)

    def misclassified(self, first: np.ndarray) -> np.ndarray:
        """Whether the model's answer is not the label; False where either is unknown."""
        predicted, label = self.predicted[first], self.label[first]
        return (predicted >= 0) & (label >= 0) & (predicted != label)

    def relative_gap(self, rows: np.ndarray) -> np.ndarray:
        """|gap| / |score - baseline score| of index rows; NaN where the method promises no sum."""
        gap, difference = np.abs(self.gap[rows]), np.abs(self.score[rows] - self.baseline_score[rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(gap == 0, 0.0, gap / difference)

    def largest(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The largest of `values` over each example's maps (`rows`: [E, M], -1 for none); NaN where all are NaN."""
        per_map = np.where(np.isnan(values) | (rows < 0), -np.inf, values)
        best = per_map.max(axis=1, initial=-np.inf)
        return np.where(np.isneginf(best), np.nan, best)

    def _names(self, column: str, unit: np.ndarray, rows: np.ndarray) -> list[str | None]:
        stored = self.index[column].take(pa.array(rows, pa.int64())).to_pylist()
        return [name or self.name(int(number)) for name, number in zip(stored, unit[rows], strict=True)]

    def _pick(self, selection: Selection) -> Cells:
        step = self.steps[-1] if selection.step is None and self.steps else selection.step
        allowed = (self._step == step) & (self._method >= 0)
        preferred = self.target == self.predicted
        match selection.target:
            case "predicted":
                allowed &= preferred
            case "label":
                allowed &= self.target == self.label
            case "sum":
                allowed &= self.target < 0
            case int(unit):
                allowed &= self.target == unit
        candidates = np.flatnonzero(allowed)
        # Written worst first, so that the best of an example's rows stays: its predicted class, else the first stored.
        candidates = candidates[np.lexsort((-candidates, preferred[candidates]))]
        rows = np.full((len(self.ids), len(self.methods)), -1, np.int64)
        rows[self._example[candidates], self._method[candidates]] = candidates
        first = rows.max(axis=1, initial=-1)
        return Cells(rows, first, np.flatnonzero(first >= 0))

    def _sort(self, selection: Selection, filter_: str, sort: str, descending: bool) -> np.ndarray:
        cells = self._cells(selection)
        examples = cells.examples
        first = cells.first[examples]
        if filter_ == "is:misclassified":
            wrong = self.misclassified(first)
            examples, first = examples[wrong], first[wrong]
        rows = cells.rows[examples]
        match sort:
            case "score":
                keys = [self.score[first]]
            case "probability":
                keys = [self.probability[first]]
            case "id":
                keys = [self._id_ranks[examples]]
            case "gap":
                keys = [self.largest(self.relative_gap(rows), rows)]
            case _:
                keys = [self.misclassified(first).astype(np.float64), self.largest(self.relative_gap(rows), rows)]
        signed = [-key if descending else key for key in keys]
        # NumPy puts NaN last, and so whichever way; equal keys keep the order of the store.
        return examples[np.lexsort(signed[::-1])]

    @functools.cached_property
    def _id_ranks(self) -> np.ndarray:
        """Each example's place by id: as numbers where all ids are whole numbers, else as text."""
        numeric = pc.all(pc.match_substring_regex(self.ids, "^[0-9]{1,18}$")).as_py()
        order = pc.array_sort_indices(self.ids.cast(pa.int64()) if numeric else self.ids).to_numpy()
        ranks = np.empty(len(order))
        ranks[order] = np.arange(len(order))
        return ranks


def _refuse_paths(directory: Path, names: list[Any]) -> None:
    """A store reads its own files only."""
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise StoreError(f"{directory}: it names the file {name!r} outside itself; run the pipeline again")


def _numbers(column: pa.ChunkedArray, dtype: type, missing: int) -> np.ndarray:
    return pc.fill_null(column, missing).to_numpy().astype(dtype)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
