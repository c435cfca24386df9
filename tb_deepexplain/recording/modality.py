"""What people see of the inputs that are explained: pictures, texts and tables, alone or mixed; and which maps fit them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.graph.entries import ExplainedInput
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.graph.submodel import Submodel

# Axes of the maps that the page can lay over an input. Other maps are computed by tb_deepexplain.explain.
MAP_AXES: dict[str, tuple[tuple[int, ...], ...]] = {
    "image": ((1, 2), (1, 2, 3)), "text": ((1,), (1, 2)), "tabular": (), "mixed": (),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ShownInput:
    """An explained input as people see it, with one map."""

    name: str  # in the results of an Explainer
    modality: str  # image | text | tabular
    spec: InputSpec | None  # of the model's input whose values are shown; None for an inner embedding
    is_one_value: bool  # the map has a single value, however many values the input has


def find_shown_inputs(submodels: Sequence[Submodel]) -> list[ShownInput]:
    """The inputs that at least one of the submodels explains, in the order of the model's inputs.

    UnsupportedModelError for an input that a store cannot show.
    """
    shown: dict[str, ShownInput] = {}
    for submodel in submodels:
        for explained in submodel.cut.explained:
            shown.setdefault(explained.name, _show(explained, submodel))
    order = {spec.name: position for position, spec in enumerate(submodels[0].graph.inputs)}
    return sorted(shown.values(), key=lambda one: order.get(one.spec.name if one.spec else "", len(order)))


def find_modality(shown: Sequence[ShownInput]) -> str:
    """image, text, tabular or mixed."""
    modalities = {one.modality for one in shown}
    return modalities.pop() if len(shown) == 1 or modalities == {"tabular"} else "mixed"


def find_pictures(shown: Sequence[ShownInput], inputs: Sequence[InputSpec]) -> int:
    """The number of the model's input whose pictures are divided into superpixels; ParameterError if there is none."""
    if find_modality(shown) != "image":
        raise ParameterError(f"superpixels are parts of pictures; the model takes {'; '.join(map(str, inputs))}")
    spec = shown[0].spec
    if spec is None or spec.dtype == "string":
        raise ParameterError(f"superpixels: the model decodes its pictures ({spec}) itself; leave superpixels out")
    return list(inputs).index(spec)


def check_map_axes(explainer: Explainer, modality: str) -> None:
    """ParameterError if the page could not lay the maps over an input of this modality."""
    axes, method = explainer.map_axes, explainer.method
    if axes is not None and axes not in MAP_AXES[modality]:
        expected = " or ".join(",".join(map(str, axes)) for axes in MAP_AXES[modality]) or "none"
        raise ParameterError(
            f"{method.id}: {method.map_axes_parameter}={','.join(map(str, axes))} makes maps that cannot be shown on "
            f"{modality} inputs; expected {expected}"
        )


def _show(explained: ExplainedInput, submodel: Submodel) -> ShownInput:
    specs, entry = submodel.graph.inputs, submodel.cut.entries[explained.entries[0]]
    spec = next((one for one in specs if one.node == explained.source or one.name == explained.name), None)
    if entry.lookup:
        return ShownInput(explained.name, "text", spec, False)
    shape = submodel.entry_specs[explained.entries[0]].shape
    if spec is None and len(specs) == 1 and shape == specs[0].shape:  # behind a scaling, say
        spec = specs[0]
    if spec is not None and len(spec.shape) == 4 and not explained.is_encoded:
        return ShownInput(explained.name, "image", spec, False)
    if spec is not None and spec.dtype == "string" and len(shape) == 4 and not explained.is_encoded:
        return ShownInput(explained.name, "image", spec, False)  # decoded by the model
    if spec is not None and len(spec.shape) < 4:
        return ShownInput(explained.name, "tabular", spec, explained.shape is not None and len(explained.shape) == 1)
    raise UnsupportedModelError(
        f"{explained.name} is {spec or list(shape)}; the pipeline explains pictures, texts, and numbers or categories with at most "
        "two axes: explain this model with tb_deepexplain.explain"
    )
