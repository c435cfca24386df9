"""Origin: the model that a graph was traced from, to be called as its owner calls it, and traced for other sizes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tb_deepexplain.errors import UnsupportedModelError

if TYPE_CHECKING:
    from tb_deepexplain.graph.model_graph import ModelGraph

ExampleShapes = tuple[tuple[int | None, ...], ...]  # of an example, one for each input
_SIZES_FOR_OPEN_ONES = (32, 96, 8)  # tried where a model cannot be traced with its sizes open


@dataclasses.dataclass(frozen=True)
class Origin:
    """What is known of a model besides its graph; None: nothing."""

    call: Callable[[Sequence[Any]], list[Any]] | None = (
        None  # the inputs in the graph's order → all outputs in its order
    )
    trace: Callable[[ExampleShapes], ModelGraph] | None = None  # for examples of these shapes, in a batch of any size
    parse: Callable[[Any], dict[str, np.ndarray] | None] | None = None  # serialized tf.Examples → values of the inputs


def trace_model(trace: Callable[[ExampleShapes], ModelGraph], specs: Sequence[Any]) -> ModelGraph:
    """The graph of a model for inputs of these TensorSpecs: with sizes open where they are, which serves all sizes at once.

    A model that cannot be traced so is traced at some size; its graph then holds for that size only.
    """
    shapes = tuple(tuple(spec.shape[1:]) for spec in specs)
    try:
        return trace(shapes)
    except UnsupportedModelError:
        if all(None not in shape for shape in shapes):
            raise
        for size in _SIZES_FOR_OPEN_ONES:
            with contextlib.suppress(UnsupportedModelError):
                sized = tuple(tuple(size if n is None else n for n in shape) for shape in shapes)
                return trace(sized).with_input_shapes(shapes)
        raise
