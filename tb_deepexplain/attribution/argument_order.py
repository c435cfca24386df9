"""The order of the first arguments: (method, model, xs), recognised also where the model comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.errors import ParameterError, UnknownMethodError
from tb_deepexplain.graph.loading.load_model import is_model


def order_arguments(call: str, *values: Any) -> list[Any]:
    """The method, the model and the others, in this order. `call` shows it, for messages. None: missing.

    Raises ParameterError if there is no model, or a model comes first and no other value is the name of a method.
    """
    first, second, *others = values
    if is_model(first) and not _names_methods(first):
        positions = [i for i, value in enumerate(values) if _names_methods(value)]
        if len(positions) != 1:
            raise ParameterError(
                f"the model comes first; the order is {call}, with the name of a method such as 'integrated_gradients'"
            )
        rest = [value for i, value in enumerate(values) if i not in (0, positions[0])]
        return [values[positions[0]], first, *rest]
    if second is None:
        raise ParameterError(f"the model is missing; the order is {call}")
    return [first, second, *others]


def check_order(call: str, model: Any, xs: Any, others: Sequence[Any]) -> None:
    """ParameterError unless a call that takes the names of methods as `methods=` has the model first and the examples second."""
    if others or xs is None or _names_methods(model) or (is_model(xs) and not is_model(model)):
        raise ParameterError(f"the order is {call}, with the names of methods as methods=['occlusion', ...]")


def _names_methods(value: Any) -> bool:
    """Whether the value is the name of a method, or a list or dict of some."""
    if isinstance(value, list | tuple | Mapping):
        return bool(value) and all(isinstance(name, str) and _names_methods(name) for name in value)
    try:
        return isinstance(value, str) and bool(find_method(value))
    except UnknownMethodError:
        return False
