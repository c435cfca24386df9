"""How records are read: features, label, id, class names, resizing, preprocessing, schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from beam_pipelines.reading.preprocess import Preprocess, load_preprocess

if TYPE_CHECKING:  # imports the parts of tensorflow_metadata
    from beam_pipelines.reading.tfmd_schema import Schema


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordSpec:
    """How records of any format are read; sent to every worker."""

    features: Mapping[str, str] = dataclasses.field(default_factory=dict)  # input → feature, or features "a,b,c"
    label_feature: str = "label"
    id_feature: str = "id"
    class_names: tuple[str, ...] = ()  # labels that are text, by class number
    resize: bool = False  # pictures, to the size of the model's input
    preprocess: Preprocess | str | None = None  # record → inputs, label, id, image; or its name, "module:function"
    schema: Schema | None = None

    def load_preprocess(self) -> Callable[[Mapping[str, Any]], Mapping[str, Any]] | None:
        """The function itself. Raises ParameterError if its name cannot be imported."""
        return load_preprocess(self.preprocess) if isinstance(self.preprocess, str) else self.preprocess
