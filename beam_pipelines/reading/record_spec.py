"""How records are read: features, label, id, slice features, class names, resizing, preprocessing, schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from beam_pipelines.reading.preprocess import Preprocess, load_preprocess
from tb_deepexplain.errors import ParameterError

if TYPE_CHECKING:  # imports the parts of tensorflow_metadata
    from beam_pipelines.reading.tfmd_schema import Schema

# Names of tf.image.resize and of Keras' `interpolation` → (method of tf.image.resize, antialias).
RESIZE_METHODS: Mapping[str, tuple[str, bool]] = {
    "bilinear": ("bilinear", False),  # the default of keras.utils.image_dataset_from_directory
    "antialias": ("bilinear", True),  # bilinear as PIL does it
    "nearest": ("nearest", False),  # the default of keras.utils.load_img
    **{name: (name, False) for name in ("bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordSpec:
    """How records of any format are read; sent to every worker."""

    features: Mapping[str, str] = dataclasses.field(default_factory=dict)  # input → feature, or features "a,b,c"
    label_feature: str = "label"
    id_feature: str = "id"
    slice_features: tuple[str, ...] = ()  # kept with the example as the record has them
    class_names: tuple[str, ...] = ()  # labels that are text, by class number
    resize: str | None = None  # pictures, to the size of the model's input: one of RESIZE_METHODS
    preprocess: Preprocess | str | None = None  # record → inputs, label, id, image; or its name, "module:function"
    schema: Schema | None = None
    in_python: bool = False  # whether messages name Python's keywords; else the options of the command

    def __post_init__(self) -> None:
        if self.resize is not None and self.resize not in RESIZE_METHODS:
            raise ParameterError(f"resize {self.resize}: expected {', '.join(RESIZE_METHODS)}")

    @property
    def named_features(self) -> dict[str, str]:
        """The features for label, id and slices that are named by the caller → the option that does it. A function `preprocess` may
        make label and id."""
        options = {}
        for parameter, feature in {"label_feature": self.label_feature, "id_feature": self.id_feature}.items():
            is_default = feature in (parameter.removesuffix("_feature"), "none", "")
            if not is_default and self.preprocess is None:
                options[feature] = f"{parameter}={feature!r}" if self.in_python else f"--{parameter} {feature}"
        for feature in self.slice_features:
            options[feature] = f"slice_features={[feature]}" if self.in_python else f"--keep {feature}"
        return options

    def option(self, name: str, value: str = "") -> str:
        """An option as the caller writes it: `--resize`, or `resize=True` in Python. `value`: of Python's keyword."""
        return f"{name}={value}" if self.in_python and value else name if self.in_python else f"--{name}"

    def feature_option(self, model_input: str, feature: str) -> str:
        """As the caller names the feature of an input: `--feature age=Age`, or `features={"age": "Age"}` in Python."""
        return f'features={{"{model_input}": "{feature}"}}' if self.in_python else f"--feature {model_input}={feature}"

    def load_preprocess(self) -> Callable[[Mapping[str, Any]], Mapping[str, Any]] | None:
        """The function itself. Raises ParameterError if its name cannot be imported."""
        return (
            load_preprocess(self.preprocess, self.option("preprocess"))
            if isinstance(self.preprocess, str)
            else self.preprocess
        )


def resize_method(resize: bool | str) -> str | None:
    """The method of `resize=True` (bilinear, as Keras' loader resizes), of a name, or None for False."""
    return resize if isinstance(resize, str) else "bilinear" if resize else None
