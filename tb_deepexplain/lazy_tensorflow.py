"""TensorFlow, imported when it is first used: the tables of methods and measures can then be listed without it.

Modules that a table imports (methods, measures, what they build on) write `from tb_deepexplain.lazy_tensorflow import tf`.
"""

from __future__ import annotations

import importlib
from typing import Any


class _LazyModule:
    """Stands for a module; the first attribute read imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


tf: Any = _LazyModule("tensorflow")
