"""The shapes for which functions of examples are compiled: with the model's open sizes, so that one function serves all sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.compiled_method import Shapes
from tb_deepexplain.graph.submodel import Submodel


def shape_choices(
    submodel: Submodel,
    entries: Sequence[Any],
    baseline: Any,
    takes_open_sizes: Callable[[list[int]], bool] = lambda _: True,
) -> list[Shapes]:
    """The shapes that a function of these entries `[B, ...]` may be compiled for: open sizes if possible, then their own.

    Open is what the model leaves open, but not the last of several axes, which are channels, embedding dimensions or columns.
    `baseline`: of the function, resolved for the entries. `takes_open_sizes(sizes)`: whether the function can be compiled for open
    sizes, which these examples fill with `sizes`.
    """
    exact = tuple((None, *entry.shape[1:]) for entry in entries)
    baselines = baseline if isinstance(baseline, list) else [baseline] * len(entries)
    are_texts = [entry.lookup is not None for entry in submodel.cut.entries]
    if any(np.ndim(b) > is_text for b, is_text in zip(baselines, are_texts, strict=True)):
        return [exact]  # a baseline like one example fits examples of its shape
    opened = tuple(map(_open, submodel.entry_shapes, exact, are_texts))
    sizes = [
        size
        for of_entry, of_opened in zip(exact, opened, strict=True)
        for size, n in zip(of_entry[1:], of_opened[1:], strict=True)
        if n is None and size is not None
    ]
    return [opened, exact] if sizes and takes_open_sizes(sizes) else [exact]


def _open(known: Any, exact: tuple[int | None, ...], is_text: bool) -> tuple[int | None, ...]:
    """The exact shape of an entry with None for the axes that the submodel leaves open. `known`: the shape before any example."""
    if known.rank is None:  # a text whose rows are looked up by a function, say
        known = [None] * len(exact) if is_text else exact
    last = len(exact) - 1 if len(exact) > 2 else len(exact)
    return tuple(n if k is not None or i == last else None for i, (k, n) in enumerate(zip(known, exact, strict=True)))
