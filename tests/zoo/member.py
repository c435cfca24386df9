"""Member: one model of the zoo, with what is expected of every method. Imports no TensorFlow, so that the page can list it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

REASONS = {
    "loop": "loop or condition",
    "product": "product of two tensors that both depend on the input",
    "softmax": "softmax inside the network",
    "no rule": "has no rule for .*the operation",
    "no gradient": "no gradient reaches the explained input",
    "old loop": "loop of TensorFlow 1",
    "batch axis": "needs the batch as its first axis",
    "random": "the output depends on random numbers",
    "no real numbers": "no input of this model can be explained",
}  # reason → a regular expression that the refusal matches
RULES = "backprop rule"  # the family of ε-LRP and DeepLIFT


def call_keras(model: Any, inputs: Any) -> Any:
    """The output of a Keras model, as its owner calls it."""
    return model(inputs, training=False)


def save_keras(model: Any, folder: Path) -> Path:
    """A .keras file."""
    model.save(folder / "model.keras")
    return folder / "model.keras"


def export(model: Any, folder: Path) -> Path:
    """A SavedModel by Keras."""
    model.export(folder / "saved_model", verbose=False)
    return folder / "saved_model"


KERAS_FORMATS = {".keras": save_keras, "SavedModel": export}


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One model. `xs` are two examples in the structure that model and library take; `call` gives the explained output.

    `entries` lists what is explained, in the library's order: positions or names of inputs, and layers whose output is entered
    (embeddings). Where some are categories, `encodings` lists the layer that encodes each, and the same key for the others;
    gradients are read there and summed to maps that have `map_ranks` axes after the batch.
    `refused`, `warned` and `wrong` have as keys a method's id, its family, "every" or a format; their values are
    a key of REASONS, a regular expression for a warning that may replace the promise of a sum, and the cause of a fault that is not
    mended yet. `formats` save the model in a folder and return the path.
    """

    name: str
    build: Callable[[], Any]
    xs: Callable[[Any], Any]  # of a NumPy generator
    call: Callable[[Any, Any], Any] = call_keras
    entries: Callable[[Any], Sequence[Any]] = lambda _: [0]
    encodings: Callable[[Any], Sequence[Any]] | None = None
    map_ranks: Sequence[int] | None = None
    target: int = 1
    explained: Callable[[Any], Any] = lambda model: model  # what the library is given
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # inputs=, output=
    parameters: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)  # of methods
    formats: Mapping[str, Callable[[Any, Path], Path]] = dataclasses.field(default_factory=lambda: KERAS_FORMATS)
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warned: Mapping[str, str] = dataclasses.field(default_factory=dict)
    wrong: Mapping[str, str] = dataclasses.field(default_factory=dict)
    has_keras_activations: bool = True  # so that backward rules can be applied by hand
    tolerance: float = 1e-3  # of a map, relative to its largest value
    lrp_tolerance: float | None = (
        None  # of maps of ε-LRP, where rounding next to a zero is divided by ε; None: the same
    )

    def expected(self, table: Mapping[str, str], subject: Any) -> str | None:
        """The entry of `refused`, `warned` or `wrong` for a row of the table of methods, or for a format."""
        keys = (subject,) if isinstance(subject, str) else (subject.id, subject.family, "every")
        return next((table[key] for key in keys if key in table), None)
