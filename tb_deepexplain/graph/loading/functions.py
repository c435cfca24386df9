"""tf.function, tf.Module, any callable with its TensorSpecs → ModelGraph."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.errors import UnsupportedModelError, first_line
from tb_deepexplain.graph.inlining import outputs_of
from tb_deepexplain.graph.model_graph import ModelGraph

_GIVE_SPECS = "give (function, tf.TensorSpec([None, ...], dtype))"


def is_function(value: Any) -> bool:
    """Whether it is a tf.function or a ConcreteFunction."""
    return hasattr(value, "get_concrete_function") or _is_concrete(value)


def _is_concrete(value: Any) -> bool:
    return hasattr(value, "structured_input_signature") and hasattr(value, "graph")


def from_function(function: Any, source: str, keep: Any = None) -> ModelGraph:
    """A ConcreteFunction, or a tf.function of which only one can be meant."""
    if not _is_concrete(function):
        try:
            concrete = _concretes(function)
        except Exception as error:  # the function's own code runs here
            raise UnsupportedModelError(f"{source} cannot be traced: {first_line(error)}") from error
        if len(concrete) != 1:
            seen = "; ".join(str(c.structured_input_signature[0]) for c in concrete[:3])
            what = f"was traced for {len(concrete)} signatures ({seen})" if concrete else "was never traced"
            raise UnsupportedModelError(f"{source} has no input_signature and {what}: {_GIVE_SPECS}")
        function = concrete[0]
    return from_concrete(function, source, keep)


def _concretes(function: Any) -> list[Any]:
    if getattr(function, "input_signature", None) is not None:
        return [function.get_concrete_function()]
    if hasattr(function, "concrete_functions"):  # of a SavedModel
        return list(function.concrete_functions)
    return list(function._list_all_concrete_functions())  # noqa: SLF001 - there is no public way to what was traced


def from_callable(function: Any, specs: Any, source: str) -> ModelGraph:
    """Whatever can be called with tensors like `specs`: one, a list of arguments, or a dict of keyword arguments."""
    args = [specs] if isinstance(specs, tf.TensorSpec) else list(specs) if isinstance(specs, list | tuple) else []
    named = dict(specs) if isinstance(specs, dict) else {}
    wrong = sorted({type(s).__name__ for s in [*args, *named.values()] if not isinstance(s, tf.TensorSpec)})
    if not callable(function) or wrong or not (args or named):
        came = f"({type(function).__name__}, {', '.join(wrong) or type(specs).__name__})"
        raise UnsupportedModelError(
            f"cannot explain {came}: give (function, tf.TensorSpec([None, ...], dtype)), with a list of TensorSpecs "
            "for several arguments or a dict for arguments by name"
        )
    named = {name: tf.TensorSpec(s.shape, s.dtype, name) for name, s in named.items()}
    traced = function if hasattr(function, "get_concrete_function") else tf.function(function)
    try:
        concrete = traced.get_concrete_function(*args, **named)
    except Exception as error:  # the function's own code runs here
        raise UnsupportedModelError(
            f"{source} cannot be called with {written([*args, *named.values()])}: {first_line(error)}"
        ) from error
    return from_concrete(concrete, source, keep=function)


def written(specs: Sequence[Any]) -> str:
    return ", ".join(f"{s.dtype.name} {s.shape}" for s in specs)


def from_module(module: Any, source: str) -> ModelGraph:
    """`__call__` of a tf.Module, or the only tf.function it has that is known to be called in one way."""
    named = {name: getattr(module, name) for name in _function_names(module)}
    if "__call__" in named:
        return from_function(named["__call__"], source, keep=module)
    readable = {name: f for name, f in named.items() if _has_one_form(f)}
    if len(readable) != 1:
        found = f"it has {', '.join(readable or named)}" if named else "it has no tf.function"
        raise UnsupportedModelError(
            f"{source} has no __call__ that is a tf.function, and {found}: give one of its functions, "
            "or (function, tf.TensorSpec([None, ...], dtype))"
        )
    name, function = next(iter(readable.items()))
    return from_function(function, f"{source}, {name}", keep=module)


def _has_one_form(function: Any) -> bool:
    known = _is_concrete(function) or getattr(function, "input_signature", None) is not None
    return known or len(_concretes(function)) == 1


def _function_names(module: Any) -> list[str]:
    names = [n for n in dir(module) if n == "__call__" or not n.startswith("_")]
    return [n for n in names if is_function(inspect.getattr_static(module, n, None))]  # runs no property


def from_concrete(function: Any, source: str, keep: Any = None, names: Sequence[str] = ()) -> ModelGraph:
    """`names`: of the inputs, where they are known better than by what the function says."""
    captured = {internal.name for _, internal in function.graph.captures}
    inputs = [t for t in function.inputs if t.name not in captured]
    names = names or _input_names(function, inputs)
    check_inputs(function, inputs, names, source)
    # A signature takes its inputs by keyword: the order in which they stand here is TensorFlow's, not the caller's.
    ordered = not function.structured_input_signature[1]
    return ModelGraph(function, names, output_names(function, source), source, keep=keep, ordered=ordered)


def _input_names(function: Any, inputs: Sequence[Any]) -> list[str]:
    keywords = getattr(function, "_arg_keywords", None) or []  # in the order of the inputs
    args, named = function.structured_input_signature
    if not args and set(keywords) == set(named) and len(keywords) == len(inputs):
        return list(keywords)
    nodes = [(t.op.name, t.op.node_def.attr) for t in inputs]
    names = [a["_user_specified_name"].s.decode() if "_user_specified_name" in a else node for node, a in nodes]
    return [node if names.count(name) > 1 else name for (node, _), name in zip(nodes, names, strict=True)]


def check_inputs(function: Any, inputs: Sequence[Any], names: Sequence[str], source: str) -> None:
    """Refuse what has no examples in rows."""
    for spec in tf.nest.flatten(function.structured_input_signature):
        if isinstance(spec, tf.TypeSpec) and not isinstance(spec, tf.TensorSpec):
            kind = type(spec).__name__.removesuffix("Spec")
            raise UnsupportedModelError(
                f"{source} takes a {kind}: wrap it in a tf.function that makes the {kind} of a dense tensor"
            )
    if not inputs:
        raise UnsupportedModelError(f"{source} takes no tensor: give a function of the model's inputs")
    for t, name in zip(inputs, names, strict=True):
        if not t.shape.rank:
            what = "is a single value, not one for each example" if t.shape.rank == 0 else "is of unknown rank"
            raise UnsupportedModelError(
                f"{source}: input {name} ({t.dtype.name}) {what}; wrap the model in a tf.function whose inputs "
                "have the batch as their first axis"
            )


def output_names(function: Any, source: str, names: Sequence[str] = ()) -> list[str]:
    """Of a dict its keys, else `names` where there are as many as outputs, else output_0, output_1, ..."""
    count = len(outputs_of(function))
    if isinstance(function.structured_outputs, dict):
        found = function.structured_outputs
        names = sorted(k for k in found if found[k] is not None)  # the order in which TensorFlow flattens a dict
        if len(names) != count:
            raise UnsupportedModelError(
                f"{source}: its outputs are nested; give a function that returns a tensor or a flat dict"
            )
    return list(names) if len(names) == count else [f"output_{i}" for i in range(count)]
