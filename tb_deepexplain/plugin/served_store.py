"""A committed store as the plugin serves it: its manifest in memory, its index as a table for SQL."""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tb_deepexplain.plugin.duckdb_engine import Engine
from tb_deepexplain.plugin.filter_sql import StoreFields, slice_fields
from tb_deepexplain.plugin.index_source import IndexSource
from tb_deepexplain.store.manifest import require
from tb_deepexplain.store.reader import Store

if TYPE_CHECKING:
    from tb_deepexplain.plugin.example_order import Order

_TARGETS_OF_ONE_MAP = ("predicted", "label", "sum")  # rules by which an example has one target
_ORDERS_KEPT = 6  # of 9 bytes an example each


class ServedStore:
    """A committed store. Queries go to DuckDB; in memory are the manifest and a few orders."""

    def __init__(self, directory: Path, engine: Engine) -> None:
        self.engine = engine
        self.reader = Store(directory)
        manifest = self.manifest = self.reader.manifest
        require(directory, manifest, "modality", "methods")
        self.version: str = manifest["version"]
        self.modality: str = manifest["modality"]
        self.methods: list[dict[str, Any]] = manifest["methods"]
        self.index = IndexSource(directory, manifest, engine)
        steps = engine.rows(f"SELECT DISTINCT step FROM {self.index.sql} ORDER BY 1")
        self.steps: list[int] = [step for (step,) in steps]
        measures = [measure["id"] for measure in manifest.get("measures") or ()]
        self.fields = StoreFields(
            columns=frozenset(self.index.columns),
            methods=tuple(method["id"] for method in self.methods),
            measures=tuple(measure for measure in measures if re.fullmatch(r"[a-z][a-z0-9_]*", measure)),
            labels=tuple(map(str, manifest.get("labels") or ())),
            steps=len(self.steps),
            methods_with_gap=tuple(method["id"] for method in self.methods if method.get("sums_to")),
            text_search=self.index.text_search(),
            slices=slice_fields(manifest),
        )
        self._orders: OrderedDict[Hashable, Order] = OrderedDict()
        self._lock = threading.Lock()

    def cached_order(self, key: Hashable, compute: Callable[[], Order]) -> Order:
        """The order kept under this key, or a new one. Of two threads that need the same, one computes it."""
        with self._lock:
            if key not in self._orders:
                self._orders[key] = compute()
                while len(self._orders) > _ORDERS_KEPT:
                    self._orders.popitem(last=False)
            self._orders.move_to_end(key)
            return self._orders[key]

    @functools.cached_property
    def targets(self) -> list[dict[str, Any]] | None:
        """The output units explained, as {"id", "name"}; None where each map exists for one target only."""
        rule = self.manifest.get("target") or ""
        maps, maps_of_one_target = self._map_counts
        if maps <= maps_of_one_target:
            several = f"SELECT 1 FROM {self.index.sql} GROUP BY example_id, method, step HAVING count(*) > 1 LIMIT 1"
            if rule in _TARGETS_OF_ONE_MAP or rule.isdigit() or not self.engine.rows(several):
                return None
        units = f"SELECT target, max(target_label) FROM {self.index.sql} WHERE target >= 0 GROUP BY 1 ORDER BY 1"
        return [{"id": unit, "name": name or self.unit_name(unit)} for unit, name in self.engine.rows(units)]

    @functools.cached_property
    def are_judged(self) -> bool:
        """Whether examples have labels and predicted classes, and so are correct or misclassified."""
        return bool(self.engine.rows(f"SELECT 1 FROM {self.index.sql} WHERE correct OR misclassified LIMIT 1"))

    @functools.cached_property
    def is_complete(self) -> bool:
        """Whether every example has one map by every method at every step. The rows of one method then tell what is the same
        in all rows of an example."""
        maps, maps_of_one_target = self._map_counts
        return 0 < maps == maps_of_one_target and self.targets is None

    @property
    def _map_counts(self) -> tuple[int, int]:
        """The number of maps; and the number if every example had one map by every method at every step."""
        counts = self.manifest["counts"]
        return counts["maps"], counts["examples"] * len(self.methods) * len(self.steps)

    def unit_name(self, unit: int | None) -> str | None:
        """The name of an output unit, where the store has names."""
        labels = self.fields.labels
        return labels[unit] if unit is not None and 0 <= unit < len(labels) else None

    def latest_step(self, limit: int | None) -> int | None:
        """The latest step, or the latest that is not after `limit`."""
        return max((step for step in self.steps if limit is None or step <= limit), default=None)
