"""The modality of a model: whether its examples are pictures, texts or tables."""

from __future__ import annotations

from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.graph.model_graph import ModelGraph

# Axes of the maps that the page can lay over an input. Other maps are computed by tb_deepexplain.explain.
MAP_AXES: dict[str, tuple[tuple[int, ...], ...]] = {"image": ((1, 2), (1, 2, 3)), "text": ((1,), (1, 2)), "tabular": ()}


def find_modality(graph: ModelGraph) -> str:
    """image, text or tabular. UnsupportedModelError for inputs that a store cannot show."""
    specs, cut = graph.inputs, graph.submodel().cut
    texts = [name for name, lookup in zip(cut.names, cut.explained_lookups, strict=True) if lookup]
    others = [name for name in cut.names if name not in texts]
    ranks = [len(spec.shape) for spec in specs]
    if texts and not others:
        return "text"
    if ranks == [4] and others == [specs[0].name]:
        return "image"
    if not texts and max(ranks) < 4 and others == [spec.name for spec in specs]:
        return "tabular"
    raise UnsupportedModelError(
        f"the model takes {'; '.join(map(str, specs))}; the pipeline explains one picture, one text, or any number of "
        "numeric inputs for each example: explain this model with tb_deepexplain.explain"
    )
