"""Beam's type hints of what `Attribute` puts out: `Explained[K, V]` and `Failure[K, V]`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from apache_beam.ml.inference.base import PredictionResult
from apache_beam.typehints import native_type_compatibility, row_type, typehints


class OutputHint(typehints.TypeConstraint):
    """One of the generic classes with the types of its key and element.

    Beam compares the generic aliases of `typing` word by word, so that `Explained[int, Any]` would not fit `Explained[int, dict]`,
    and cannot check values against them.
    """

    def __init__(self, output: type, key: Any, element: Any) -> None:
        self.output = output
        self.parameters = tuple(
            typehints.normalize(native_type_compatibility.convert_to_beam_type(parameter))
            for parameter in (key, element)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OutputHint) and self.output is other.output and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((OutputHint, self.output))

    def __repr__(self) -> str:
        return f"{self.output.__name__}[{', '.join(getattr(one, '__name__', repr(one)) for one in self.parameters)}]"

    def __or__(self, other: Any) -> Any:
        return typehints.Union[self, other]

    __ror__ = __or__

    def _inner_types(self) -> Iterator[Any]:
        yield from self.parameters

    def _consistent_with_check_(self, sub: Any) -> bool:
        return (
            isinstance(sub, OutputHint)
            and sub.output is self.output
            and all(map(typehints.is_consistent_with, sub.parameters, self.parameters))
        )

    def type_check(self, instance: Any) -> None:
        """For --runtime_type_check."""
        if not isinstance(instance, self.output):
            raise typehints.CompositeTypeHintError(
                f"expected {self!r}, got {type(instance).__name__}: {instance!r:.100}"
            )
        for name, parameter in zip(("key", "element"), self.parameters, strict=True):
            value = getattr(instance, name)
            try:
                typehints.check_constraint(parameter, value)
            except (typehints.CompositeTypeHintError, typehints.SimpleTypeHintError) as error:
                raise typehints.CompositeTypeHintError(
                    f"expected {self!r}, got one whose {name} is {type(value).__name__}: {value!r:.100}"
                ) from error

    def match_type_variables(self, concrete_type: Any) -> Mapping[Any, Any]:
        bindings: dict[Any, Any] = {}
        if isinstance(concrete_type, OutputHint):
            for parameter, concrete in zip(self.parameters, concrete_type.parameters, strict=True):
                bindings |= typehints.match_type_variables(parameter, concrete)
        return bindings

    def bind_type_variables(self, bindings: Mapping[Any, Any]) -> OutputHint:
        return OutputHint(self.output, *(typehints.bind_type_variables(one, bindings) for one in self.parameters))


def takes_beam_hints(output: Any) -> Any:
    """Decorator of a generic class with `key` and `element`: `output[K, V]` is a Beam hint, and `output` alone means `output[Any, Any]`."""
    output.__class_getitem__ = classmethod(lambda cls, parameters: OutputHint(cls, *parameters))
    typehints._KNOWN_PRIMITIVE_TYPES[output] = output[Any, Any]  # noqa: SLF001 where Beam looks up `list` for `List[Any]`
    return output


def element_types(collection_type: Any) -> tuple[Any, Any]:
    """The types of key and element, for elements of this type: of a pair (key, element), or of elements without a key, whose keys
    are digests."""
    hint = typehints.normalize(collection_type)
    if isinstance(hint, typehints.TupleConstraint) and len(hint.tuple_types) == 2:
        return hint.tuple_types
    is_open = hint in (None, object, typehints.Any) or isinstance(
        hint, typehints.AnyTypeConstraint | typehints.UnionConstraint | typehints.TupleSequenceConstraint
    )
    return (typehints.Any, typehints.Any) if is_open else (str, hint)


def columns_of(element_type: Any) -> list[str] | None:
    """The columns of rows of this type: beam.Row, a NamedTuple or a dataclass with a schema; None for all other types."""
    if isinstance(element_type, row_type.RowTypeConstraint):
        return [name for name, _ in element_type._fields]
    if not isinstance(element_type, type) or issubclass(element_type, PredictionResult):
        return None
    if dataclasses.is_dataclass(element_type):
        return [field.name for field in dataclasses.fields(element_type)]
    return list(getattr(element_type, "_fields", ())) or None
