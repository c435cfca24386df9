"""The function of --preprocess: from one record to the model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tb_deepexplain.named_functions import identify_function, load_function

Preprocess = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def load_preprocess(name: str) -> Preprocess:
    """The function `module:function`; ParameterError if there is none."""
    return load_function(name, "--preprocess", "one record")


def identify_preprocess(name: str) -> str:
    """The name and a digest of the module's file: a store depends on both. Raises as `load_preprocess`."""
    load_preprocess(name)
    return identify_function(name)
