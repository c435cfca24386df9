"""Attributions of TensorFlow models: why a model gives its answers, and how far the explanation can be trusted.

The names below are imported when first used, so that TensorBoard can load the plugin without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tb_deepexplain._version import __version__

if TYPE_CHECKING:
    from tb_deepexplain.attribution.explain import explain
    from tb_deepexplain.attribution.explainer import Explainer
    from tb_deepexplain.attribution.methods import Method, methods
    from tb_deepexplain.attribution.results import Predictions, Result
    from tb_deepexplain.errors import (
        DeepExplainError,
        InputError,
        OutOfMemoryError,
        ParameterError,
        StoreError,
        UnknownMethodError,
        UnsupportedModelError,
    )
    from tb_deepexplain.evaluation.evaluator import Evaluator, evaluate
    from tb_deepexplain.evaluation.measured import Measured
    from tb_deepexplain.evaluation.measures import Measure, measures
    from tb_deepexplain.evaluation.method_comparison import rank
    from tb_deepexplain.evaluation.ranking import Ranking
    from tb_deepexplain.graph.input_spec import InputSpec
    from tb_deepexplain.graph.loading.load_model import load_model
    from tb_deepexplain.graph.model_graph import ModelGraph
    from tb_deepexplain.store.reader import Store
    from tb_deepexplain.training.callback import AttributionCallback


_HOMES = {
    "tb_deepexplain.training.callback": ("AttributionCallback",),
    "tb_deepexplain.errors": (
        "DeepExplainError",
        "InputError",
        "OutOfMemoryError",
        "ParameterError",
        "StoreError",
        "UnknownMethodError",
        "UnsupportedModelError",
    ),
    "tb_deepexplain.evaluation.measures": ("Measure", "measures"),
    "tb_deepexplain.evaluation.method_comparison": ("rank",),
    "tb_deepexplain.evaluation.ranking": ("Ranking",),
    "tb_deepexplain.evaluation.evaluator": ("Evaluator", "evaluate"),
    "tb_deepexplain.evaluation.measured": ("Measured",),
    "tb_deepexplain.attribution.explain": ("explain",),
    "tb_deepexplain.attribution.explainer": ("Explainer",),
    "tb_deepexplain.graph.input_spec": ("InputSpec",),
    "tb_deepexplain.graph.loading.load_model": ("load_model",),
    "tb_deepexplain.graph.model_graph": ("ModelGraph",),
    "tb_deepexplain.attribution.methods": ("Method", "methods"),
    "tb_deepexplain.attribution.results": ("Predictions", "Result"),
    "tb_deepexplain.store.reader": ("Store",),
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
    "OutOfMemoryError",
    "ParameterError",
    "Predictions",
    "Ranking",
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
    "rank",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
