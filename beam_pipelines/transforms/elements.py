"""The types that the transforms exchange with a pipeline: elements in, explained examples and failures out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

import apache_beam as beam
import numpy as np
from typing_extensions import TypeVar

from beam_pipelines.reading.tf_example import canonical_bytes
from beam_pipelines.transforms.output_hints import takes_beam_hints
from beam_pipelines.transforms.tallies import Tally
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.example import Example
from tb_deepexplain.store import records
from tb_deepexplain.store.records import Attribution, Input

if TYPE_CHECKING:  # these import TensorFlow, which a pipeline can be built without
    from tb_deepexplain.recording.batch_explainer import Outcome
    from tb_deepexplain.recording.request import Request

K = TypeVar("K", default=Any)  # of an element's key
V = TypeVar("V", default=Any)  # of an element without its key


@takes_beam_hints
@dataclasses.dataclass(frozen=True)
class Explained(Generic[K, V]):
    """An example as a person sees it, and its maps.

    `key` and `element` are the pipeline's pair (key, element), unchanged; the key of an element that had none is a digest of its
    content. `input.example_id`, which the store keeps, is a string: the key 7 has the id "7".
    """

    key: K
    element: V
    input: Input
    attributions: list[Attribution]


@takes_beam_hints
@dataclasses.dataclass(frozen=True)
class Failure(Generic[K, V]):
    """An element that could not be explained: the stage at which it failed, and why. `key` and `element` as in `Explained`."""

    key: K
    element: V
    example_id: str
    stage: str  # parse | explain
    error: str
    message: str

    @property
    def record(self) -> records.Failure:
        """The row of a store."""
        return records.Failure(self.example_id, self.stage, self.error, self.message)


class Attributions(NamedTuple):
    """The output of `Attribute`, and the input of `WriteAttributions`."""

    explained: beam.PCollection[Explained]
    errors: beam.PCollection[Failure]  # examples that could not be explained, and why
    request: beam.PCollection[Request]  # a single element
    checks: beam.PCollection[
        Tally
    ]  # of the whole run, or empty; what waits for it does not run if the run is refused: too many errors

    def filter(self, predicate: Callable[[Explained], bool], label: str = "FilterAttributions") -> Attributions:
        """The same with those examples alone for which `predicate(explained)` holds. `label`: of the step, which Beam wants unique."""
        kept = self.explained | label >> beam.Filter(predicate)
        kept.element_type = self.explained.element_type
        return self._replace(explained=kept)

    @property
    def is_whole(self) -> bool:
        """Whether `explained` is what Attribute put out, nothing filtered out of it."""
        return self.explained is getattr(self.request, "explained", None)

    @property
    def known_request(self) -> Request:
        """The request, for transforms that must know it when the pipeline is built. ParameterError if `request` is not Attribute's."""
        known: Request | None = getattr(self.request, "request", None)
        if known is None:
            raise ParameterError(
                f"expected the output of Attribute, whose request is known; got {self.request!r} as request"
            )
        return known


class ParsedElement(NamedTuple):
    """An element, and what it was parsed into."""

    key: Any
    element: Any
    example: Example | records.Failure

    def output(self, outcome: Outcome) -> Explained | Failure:
        """The output of the transforms for the outcome of the example."""
        if isinstance(outcome, records.Failure):
            return Failure(self.key, self.element, **vars(outcome))
        return Explained(self.key, self.element, *outcome)


def digest(value: Any) -> str:
    """An id by content, for a serialized tf.Example, a dict of columns, or any other element."""
    hash_ = hashlib.blake2b(digest_size=10)
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            hash_.update(str(name).encode() + b"\0" + _content(value[name]) + b"\0")
    else:
        hash_.update(canonical_bytes(value) if isinstance(value, bytes) else _content(value))
    return hash_.hexdigest()


def _content(value: Any) -> bytes:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return repr(value).encode()
    # NumPy joins texts: ["a", "b"] has the bytes of ["ab"].
    is_list = array.dtype.hasobject or (array.dtype.kind in "SU" and array.size > 1)
    return repr(array.tolist()).encode() if is_list else array.tobytes()
