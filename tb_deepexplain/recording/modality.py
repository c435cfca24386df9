"""The modality of a model: whether its examples are pictures, texts or tables."""

from __future__ import annotations

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.model_graph import ModelGraph

# Axes of the maps that the page can lay over an input. Other maps are computed by tb_deepexplain.explain.
MAP_AXES: dict[str, tuple[tuple[int, ...], ...]] = {"image": ((1, 2), (1, 2, 3)), "text": ((1,), (1, 2)), "tabular": ()}


def find_modality(graph: ModelGraph) -> str:
    """image, text or tabular. UnsupportedModelError for inputs that a store cannot show."""
    specs, cut = graph.inputs, graph.submodel().cut
    # Keras 2 passes token ids as floats.
    token_ids = {name for name, embedded in zip(cut.entry_names, cut.embedded, strict=True) if embedded}
    floats = [spec for spec in specs if spec.is_float and spec.name not in token_ids]
    if not floats:
        return "text"
    if len(floats) == len(specs) == 1 and len(specs[0].shape) == 4:
        return "image"
    if len(floats) == len(specs) and all(len(spec.shape) < 4 for spec in specs):
        return "tabular"
    raise UnsupportedModelError(
        f"the model takes {'; '.join(map(str, specs))}; the pipeline explains one picture, one text, or any number of "
        "numeric inputs for each example: explain this model with tb_deepexplain.explain"
    )
