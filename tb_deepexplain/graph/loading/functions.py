"""tf.function, tf.Module and callables with their TensorSpecs → ModelGraph."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.inlining import outputs_of
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.graph.origin import ExampleShapes, Origin, trace_model

FUNCTION_WITH_SPECS = "(function, tf.TensorSpec([None, ...], dtype))"


def is_function(value: Any) -> bool:
    """Whether it is a tf.function or a ConcreteFunction."""
    return hasattr(value, "get_concrete_function") or _is_concrete(value)


def _is_concrete(value: Any) -> bool:
    return hasattr(value, "structured_input_signature") and hasattr(value, "graph")


def from_function(function: Any, source: str, keep: Any = None) -> ModelGraph:
    """A ConcreteFunction, or a tf.function with an input_signature or traced for exactly one."""
    if not _is_concrete(function):
        try:
            concrete = _concrete_functions(function)
        except Exception as error:  # the user's own code runs here
            raise UnsupportedModelError(f"{source} cannot be traced: {model_error_text(error)}") from error
        if len(concrete) != 1:
            signatures = "; ".join(str(c.structured_input_signature[0]) for c in concrete[:3])
            traces = f"was traced for {len(concrete)} signatures ({signatures})" if concrete else "was never traced"
            raise UnsupportedModelError(f"{source} has no input_signature and {traces}: give {FUNCTION_WITH_SPECS}")
        function = concrete[0]
    return from_concrete(function, source, keep)


def _concrete_functions(function: Any) -> list[Any]:
    if getattr(function, "input_signature", None) is not None:
        return [function.get_concrete_function()]
    if hasattr(function, "concrete_functions"):  # of a SavedModel
        return list(function.concrete_functions)
    return list(function._list_all_concrete_functions())  # noqa: SLF001 - there is no public way to list the traces


def from_callable(function: Any, specs: Any, source: str) -> ModelGraph:
    """A callable and its arguments' TensorSpecs: one, a list of arguments, or a dict of keyword arguments.

    An argument may itself be a dict or list of tensors. A dict whose keys are no parameters of the function is its one argument.
    """
    names = _argument_names(function, specs) if isinstance(specs, dict) else []
    args = [specs[name] for name in names] or (list(specs) if isinstance(specs, list | tuple) else [specs])
    flat = tf.nest.flatten(args)
    wrong_types = sorted({type(s).__name__ for s in flat if not isinstance(s, tf.TensorSpec)})
    if not callable(function) or wrong_types or not flat:
        types = f"({type(function).__name__}, {', '.join(wrong_types) or type(specs).__name__})"
        raise UnsupportedModelError(
            f"cannot explain {types}: give {FUNCTION_WITH_SPECS}, with a list of TensorSpecs for several arguments or a "
            "dict for arguments by name"
        )
    for i, name in enumerate(names):
        if isinstance(args[i], tf.TensorSpec):
            args[i] = tf.TensorSpec(args[i].shape, args[i].dtype, name)
    flat = tf.nest.flatten(args)

    def pass_to(called: Any, values: Sequence[Any]) -> Any:
        packed = tf.nest.pack_sequence_as(args, values)
        return called(**dict(zip(names, packed, strict=True))) if names else called(*packed)

    def trace(shapes: ExampleShapes | None = None) -> ModelGraph:
        sized = flat
        if shapes is not None:
            sized = [tf.TensorSpec([s.shape[0], *n], s.dtype, s.name) for s, n in zip(flat, shapes, strict=True)]
        try:
            concrete = pass_to(_untraced(function).get_concrete_function, sized)
        except Exception as error:  # the user's own code runs here
            raise call_error(source, sized, error) from error
        return from_concrete(concrete, source, keep=function, origin=Origin(call, trace))

    def call(inputs: Sequence[Any]) -> list[Any]:
        # The Python code itself: a tf.function would run the trace with which it is compared.
        return flat_outputs(pass_to(getattr(function, "python_function", function), inputs))

    has_batches = all(s.shape.rank for s in flat)
    return trace_model(trace, flat) if has_batches else trace()  # which refuses them


def _untraced(function: Any) -> Any:
    """A tf.function without traces: one that was traced for open sizes uses that trace for every size."""
    if not hasattr(function, "get_concrete_function"):
        return tf.function(function)
    return function._clone(None) if hasattr(function, "_clone") else function  # noqa: SLF001 - there is no public way


def _argument_names(function: Any, specs: Mapping[str, Any]) -> list[str]:
    """The keys of `specs` in the order of a traced function's inputs, if they are parameters of the function; else none: they
    are the keys of a dict that is its one argument."""
    try:
        signature = inspect.signature(function)
        signature.bind(**specs)
    except TypeError:
        return []
    except ValueError:  # it has no signature
        return sorted(specs)
    parameters = signature.parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in specs]
    return [*positional, *sorted(set(specs) - set(positional))]  # TensorFlow sorts keyword arguments


READS_VALUES = (
    "Python's `if`, `for` or `while` depends on the values of a tensor; decorate that function with @tf.function, or use tf.cond and "
    "tf.while_loop"
)


def call_error(source: str, specs: Sequence[Any], error: Exception) -> UnsupportedModelError:
    """The error of a model that fails when it is traced with these TensorSpecs."""
    arguments = ", ".join(f"{s.dtype.name} {s.shape}" for s in specs)
    advice = f": {READS_VALUES}" if isinstance(error, tf.errors.OperatorNotAllowedInGraphError) else ""
    return UnsupportedModelError(f"{source} cannot be called with {arguments}: {model_error_text(error)}{advice}")


def from_module(module: Any, source: str) -> ModelGraph:
    """`__call__` of a tf.Module; without one, its only tf.function that has exactly one signature."""
    functions = {name: getattr(module, name) for name in _function_names(module)}
    if "__call__" in functions:
        return from_function(functions["__call__"], source, keep=module)
    usable = {name: f for name, f in functions.items() if _has_one_signature(f)}
    if len(usable) != 1:
        available = f"it has {', '.join(usable or functions)}" if functions else "it has no tf.function"
        raise UnsupportedModelError(
            f"{source} has no __call__ that is a tf.function, and {available}: give one of its functions, "
            f"or {FUNCTION_WITH_SPECS}"
        )
    name, function = next(iter(usable.items()))
    return from_function(function, f"{source}, {name}", keep=module)


def _has_one_signature(function: Any) -> bool:
    is_fixed = _is_concrete(function) or getattr(function, "input_signature", None) is not None
    return is_fixed or len(_concrete_functions(function)) == 1


def _function_names(module: Any) -> list[str]:
    names = [n for n in dir(module) if n == "__call__" or not n.startswith("_")]
    return [n for n in names if is_function(inspect.getattr_static(module, n, None))]  # does not run properties


def from_concrete(
    function: Any, source: str, keep: Any = None, names: Sequence[str] = (), origin: Origin | None = None
) -> ModelGraph:
    """A ConcreteFunction; `names` of its inputs replace those of its signature; `origin`: if it is not all there is."""
    captured = {internal.name for _, internal in function.graph.captures}
    inputs = [t for t in function.inputs if t.name not in captured]
    names = names or _input_names(function, inputs)
    _check_inputs(function, inputs, names, source)
    # The inputs of a signature are keyword arguments: their order here is TensorFlow's, not the caller's, as in a dict.
    args, kwargs = function.structured_input_signature
    has_ordered_inputs = not kwargs and not any(isinstance(arg, Mapping) for arg in args)
    outputs = output_names(function, source)
    origin = origin or _origin(function, len(inputs))
    return ModelGraph(function, names, outputs, source, keep=keep, has_ordered_inputs=has_ordered_inputs, origin=origin)


def _origin(function: Any, count: int) -> Origin:
    """The function itself, with its calls, before they are inlined. Its inputs are in the order of its signature."""
    signature = function.structured_input_signature
    leaves = tf.nest.flatten(signature)
    if sum(isinstance(leaf, tf.TensorSpec) for leaf in leaves) != count:
        return Origin()

    def call(inputs: Sequence[Any]) -> list[Any]:
        values = iter(inputs)
        filled = [next(values) if isinstance(leaf, tf.TensorSpec) else leaf for leaf in leaves]
        args, kwargs = tf.nest.pack_sequence_as(signature, filled)
        return flat_outputs(function(*args, **kwargs))

    return Origin(call)


def _input_names(function: Any, inputs: Sequence[Any]) -> list[str]:
    keywords = getattr(function, "_arg_keywords", None) or []  # in the order of the inputs
    args, kwargs = function.structured_input_signature
    if not args and set(keywords) == set(kwargs) and len(keywords) == len(inputs):
        return list(keywords)
    nodes = [(t.op.name, t.op.node_def.attr) for t in inputs]
    names = [a["_user_specified_name"].s.decode() if "_user_specified_name" in a else node for node, a in nodes]
    keys = [key for arg in (*args, *(kwargs[name] for name in sorted(kwargs))) for key in keys_of(arg)]
    if len(keys) == len(inputs):
        names = [name if key is None else key for name, key in zip(names, keys, strict=True)]
    return [node if names.count(name) > 1 else name for (node, _), name in zip(nodes, names, strict=True)]


def keys_of(argument: Any, key: str | None = None) -> Iterator[str | None]:
    """The innermost key of each TensorSpec in the dicts of an argument, in TensorFlow's order; `key` outside of dicts."""
    if isinstance(argument, Mapping):
        for name in sorted(argument):
            yield from keys_of(argument[name], str(name))
    elif isinstance(argument, list | tuple):
        for item in argument:
            yield from keys_of(item, key)
    elif isinstance(argument, tf.TensorSpec):
        yield key


def _check_inputs(function: Any, inputs: Sequence[Any], names: Sequence[str], source: str) -> None:
    """UnsupportedModelError for inputs that are not dense tensors with the batch as their first axis."""
    for spec in tf.nest.flatten(function.structured_input_signature):
        if isinstance(spec, tf.TypeSpec) and not isinstance(spec, tf.TensorSpec):
            tensor_type = type(spec).__name__.removesuffix("Spec")
            raise UnsupportedModelError(
                f"{source} takes a {tensor_type}: wrap it in a tf.function that makes the {tensor_type} from a dense tensor"
            )
    if not inputs:
        raise UnsupportedModelError(f"{source} takes no tensor: give a function of the model's inputs")
    for t, name in zip(inputs, names, strict=True):
        if not t.shape.rank:
            fault = "is a single value, not one for each example" if t.shape.rank == 0 else "is of unknown rank"
            raise UnsupportedModelError(
                f"{source}: input {name} ({t.dtype.name}) {fault}; wrap the model in a tf.function whose inputs "
                "have the batch as their first axis"
            )


def flat_outputs(outputs: Any) -> list[Any]:
    """What a model returned, in the order of the outputs of its graph."""
    return [t for t in tf.nest.flatten(outputs) if t is not None]


def output_names(function: Any, source: str, names: Sequence[str] = ()) -> list[str]:
    """The keys of a dict of outputs; else `names`, if there is one for each output; else output_0, output_1, ...

    Several outputs of one layer, which have one name in Keras 3, are called by their numbers, too.
    """
    count = len(outputs_of(function))
    outputs = function.structured_outputs
    if not count:
        raise UnsupportedModelError(f"{source} returns no tensor: give a function that returns the number to explain")
    for value in tf.nest.flatten(outputs):
        if isinstance(value, tf.TypeSpec | tf.RaggedTensor | tf.SparseTensor) and not isinstance(value, tf.TensorSpec):
            tensor_type = type(value).__name__.removesuffix("Spec")
            raise UnsupportedModelError(
                f"{source} returns a {tensor_type}: give a function that makes a dense tensor of it"
            )
    if isinstance(outputs, dict):
        names = sorted(key for key in outputs if outputs[key] is not None)  # TensorFlow flattens dicts in this order
        if len(names) != count:
            raise UnsupportedModelError(
                f"{source}: its outputs are nested; give a function that returns a tensor or a flat dict"
            )
    if len(names) != count:
        names = [""] * count
    return [name if names.count(name) == 1 and name else f"output_{i}" for i, name in enumerate(names)]
