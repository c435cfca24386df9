"""The function that --preprocess names: from one record to the model's inputs."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tb_deepexplain.errors import ParameterError

Preprocess = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def load(name: str) -> Preprocess:
    """The function `module:function`; its module may also lie in the current directory."""
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ParameterError(f"--preprocess {name}: expected module:function")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module may raise anything while it is imported
        raise ParameterError(
            f"--preprocess {name}: {type(error).__name__}: {error}; it must be importable here and in every worker"
        ) from error
    if not callable(found):
        raise ParameterError(f"--preprocess {name} is a {type(found).__name__}; expected a function of one record")
    return found


def identify(name: str) -> str:
    """The function and a digest of the file that its module is in: what a store that used it depends on."""
    load(name)
    try:
        source = inspect.getsourcefile(sys.modules[name.partition(":")[0]]) or ""
        with open(source, "rb") as file:
            return f"{name} {hashlib.sha256(file.read()).hexdigest()[:16]}"
    except (OSError, TypeError):  # built in
        return name
