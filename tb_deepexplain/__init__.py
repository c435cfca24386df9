"""Attributions of TensorFlow models: why a model said what it said, and how far the explanation can be trusted.

The names below are imported when first used, so that TensorBoard can load the plugin without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tb_deepexplain.callback import AttributionCallback
    from tb_deepexplain.errors import (
        DeepExplainError,
        InputError,
        ParameterError,
        StoreError,
        UnknownMethodError,
        UnsupportedModelError,
    )
    from tb_deepexplain.evaluation import Measure, measures
    from tb_deepexplain.evaluation.evaluator import Evaluator, Measured, evaluate
    from tb_deepexplain.explainer import Explainer, Predictions, Result, explain
    from tb_deepexplain.graph.load import load_model
    from tb_deepexplain.graph.model import InputSpec, ModelGraph
    from tb_deepexplain.methods import Method
    from tb_deepexplain.store import Store

    def methods() -> list[Method]:
        """The table: one frozen row for each method, in display order."""


__version__ = "0.1.0"

_HOMES = {
    "tb_deepexplain.callback": ("AttributionCallback",),
    "tb_deepexplain.errors": (
        "DeepExplainError",
        "InputError",
        "ParameterError",
        "StoreError",
        "UnknownMethodError",
        "UnsupportedModelError",
    ),
    "tb_deepexplain.evaluation": ("Measure", "measures"),
    "tb_deepexplain.evaluation.evaluator": ("Evaluator", "Measured", "evaluate"),
    "tb_deepexplain.explainer": ("Explainer", "Predictions", "Result", "explain"),
    "tb_deepexplain.graph.load": ("load_model",),
    "tb_deepexplain.graph.model": ("InputSpec", "ModelGraph"),
    "tb_deepexplain.methods": ("Method",),
    "tb_deepexplain.store": ("Store",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AttributionCallback",
    "DeepExplainError",
    "Evaluator",
    "Explainer",
    "InputError",
    "InputSpec",
    "Measure",
    "Measured",
    "Method",
    "ModelGraph",
    "ParameterError",
    "Predictions",
    "Result",
    "Store",
    "StoreError",
    "UnknownMethodError",
    "UnsupportedModelError",
    "__version__",
    "evaluate",
    "explain",
    "load_model",
    "measures",
    "methods",
]


def __getattr__(name: str) -> Any:
    if name == "methods":  # a package that can be called
        return importlib.import_module("tb_deepexplain.methods")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
