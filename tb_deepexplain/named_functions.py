"""Functions that users name as `module:function`, for options that every worker must find."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tb_deepexplain.errors import ParameterError


def load_function(name: str, option: str, takes: str) -> Callable[..., Any]:
    """The function `module:function`. The module may also be in the current directory.

    `option`: the one that names it; `takes`: its argument, in words. ParameterError if it cannot be imported or is no function.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ParameterError(f"{option} {name}: expected module:function")
    try:
        with _current_directory_importable():
            value = importlib.import_module(module)
        for part in function.split("."):
            value = getattr(value, part)
    except Exception as error:  # a module may raise anything while it is imported
        raise ParameterError(
            f"{option} {name}: {type(error).__name__}: {error}; it must be importable here and in every worker"
        ) from error
    if not callable(value):
        raise ParameterError(f"{option} {name} is a {type(value).__name__}; expected a function of {takes}")
    return value


def identify_function(name: str) -> str:
    """The name and a digest of the file of its module, which is loaded: a store depends on both."""
    try:
        source = inspect.getsourcefile(sys.modules[name.partition(":")[0]]) or ""
        with open(source, "rb") as file:
            return f"{name} {hashlib.sha256(file.read()).hexdigest()[:16]}"
    except (OSError, TypeError):  # built in
        return name


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    """While a module is imported, the current directory is the last entry of sys.path; afterwards it is removed.

    What the module needs from there, it must import at its top.
    """
    folder = os.getcwd()
    if folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the module itself may have changed sys.path
            sys.path.remove(folder)
