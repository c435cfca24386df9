"""The function `preprocess`: from one record to the model's inputs. Threads of a process call it one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from tb_deepexplain.named_functions import identify_function, load_function

Preprocess = Callable[[Mapping[str, Any]], Mapping[str, Any]]
one_at_a_time = threading.RLock()  # around each call: tokenizers and random generators are not made for several threads


def load_preprocess(name: str, option: str = "--preprocess") -> Preprocess:
    """The function `module:function`; ParameterError, which names the `option`, if there is none."""
    return load_function(name, option, "one record")


def identify_preprocess(name: str) -> str:
    """The name and a digest of the module's file: a store depends on both. Raises as `load_preprocess`."""
    load_preprocess(name)
    return identify_function(name)
