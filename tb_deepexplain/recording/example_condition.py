"""Which examples are explained, by a condition on what the model predicts for them, in the words of the page's filter.

misclassified                       the predicted class is not the label (of several: they are not the labels)
label=3 and probability<0.5         also label:3,5 and label:cat; pred likewise
-label:cat margin<10%               not; the predicted class is hardly ahead of the second
plan:pro,team age>=65               values of slice features
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.filter_grammar import FilterError, Term, parse, parse_number, parse_range
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.targets import Classes, Label
from tb_deepexplain.store.slice_features import as_number, column_name

_OPERATOR = re.compile(r"\s*(>=|<=|[:=<>])\s*")
_EQUAL = re.compile(r"\b(is|label|pred|id)=")
_STATES = {"misclassified": "error", "error": "error", "correct": "correct"}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq,
}  # fmt: skip
_NUMBERS: Mapping[str, Callable[[Classes, int, Label], float | None]] = {  # of example i with this label
    "probability": lambda classes, i, _: _probability(classes, i),
    "score": lambda classes, i, _: _score(classes, i),
    "margin": lambda classes, i, _: classes.margin(i),
    "loss": lambda classes, i, label: classes.loss(i, label),
}
_FIELDS_OF_EXAMPLE = ("id", "label")  # known without a prediction
_FIELDS = ("is", "label", "pred", "id", *_NUMBERS)
_WITHOUT_CLASSES = "label, score, id or a slice feature"


class ExampleCondition:
    """A condition that an example meets or not. All its terms must hold; a term about what is not known does not hold."""

    def __init__(self, text: str, labels: Sequence[str] | None = None, slice_features: Sequence[str] = ()) -> None:
        """`labels`: class names. Raises ParameterError if the text is no condition."""
        self._text, self._labels, self._slice_features = text, tuple(labels or ()), tuple(slice_features)
        try:
            self._terms = [
                self._checked(term) for term in parse(_normalize(text)) if term.field or term.values != ("and",)
            ]
        except FilterError as error:
            raise ParameterError(f"only {text}: {error}") from error
        if not self._terms:
            raise ParameterError("the condition `only` is empty; give a condition such as misclassified")

    @property
    def needs_classes(self) -> bool:
        """Whether a term is on the classes that the model predicts."""
        return any(
            term.field not in (*_FIELDS_OF_EXAMPLE, "score") and not self._slice_feature(term) for term in self._terms
        )

    def check(self, classes: Classes) -> None:
        """ParameterError if a term is on what the model does not predict: it would hold for no example."""
        for term in self._terms:
            if not self._slice_feature(term) and (reason := _why_unknown(str(term.field), classes)):
                raise ParameterError(f"only {self._text}: {reason}")

    def holds(self, classes: Classes, i: int, example: Example) -> bool:
        """Whether example i, for which the model predicts `classes`, meets the condition. If its output is NaN, whether it meets the
        terms on id, label and slice features: explaining it tells that there is no prediction."""
        terms = self._terms
        if np.isnan(classes.outputs[i]).any():
            terms = [term for term in terms if term.field in _FIELDS_OF_EXAMPLE or self._slice_feature(term)]
        return all(self._holds(term, classes, i, example) != term.negated for term in terms)

    def _checked(self, term: Term) -> Term:
        if term.field is None and term.values[0] in _STATES:
            return Term("is", None, ":", (_STATES[term.values[0]],), term.negated)
        if self._slice_feature(term):
            return term
        if term.field not in _FIELDS or term.method:
            word = (
                term.values[0] if term.field is None else f"{term.method}.{term.field}" if term.method else term.field
            )
            raise FilterError(
                f"{word!r} is unknown; expected misclassified, correct, or a condition on "
                f"{', '.join((*_FIELDS, *self._slice_features))}, or on a feature that slice_features (--keep) names"
            )
        if term.field in _NUMBERS:
            for value in term.values:
                parse_range(value) or parse_number(value)
            return term
        if term.op != ":":
            raise FilterError(f"{term.field!r} has no order; write {term.field}:{term.values[0]}")
        for value in term.values:
            if term.field == "is" and value not in _STATES:
                raise FilterError(f"is:{value} is unknown; expected is:error or is:correct")
            if term.field in ("label", "pred") and not value.isdecimal() and not self._classes(value):
                known = (
                    f"the classes are {', '.join(self._labels[:10])}"
                    if self._labels
                    else "give the class names as `labels`"
                )
                raise FilterError(f"no class is named {value!r}; {known}")
        return term

    def _slice_feature(self, term: Term) -> str | None:
        """The slice feature that a term is on: by its name, without regard to case, or as `slice.NAME`; None if it is on none."""
        field = (term.qualified_field or "").lower()
        names = {column_name(name).lower(): name for name in self._slice_features}
        names |= {name.lower(): name for name in self._slice_features if name.lower() not in _FIELDS}
        return names.get(field)

    def _classes(self, value: str) -> set[int]:
        """The classes that a name, which may have `*`, or a number stands for."""
        pattern = re.escape(value).replace(r"\*", ".*")
        named = {
            number for number, name in enumerate(self._labels) if re.fullmatch(pattern, name, re.IGNORECASE | re.DOTALL)
        }
        return named | ({int(value)} if value.isdecimal() else set())

    def _holds(self, term: Term, classes: Classes, i: int, example: Example) -> bool:
        if feature := self._slice_feature(term):
            value_of_example = example.slices.get(feature)
            return value_of_example is not None and _matches_slice(term, value_of_example)
        predicted = _predicted_classes(classes, i)
        true = None if example.label is None else set(np.atleast_1d(example.label).tolist())
        if term.field == "is":
            if predicted is None or true is None:
                return False
            return any((_STATES[value] == "error") == (predicted != true) for value in term.values)
        if term.field == "id":
            patterns = (re.escape(value).replace(r"\*", ".*") for value in term.values)
            return any(re.fullmatch(pattern, example.id, re.DOTALL) for pattern in patterns)
        if term.field in ("label", "pred"):
            of_example = true if term.field == "label" else predicted
            return of_example is not None and any(of_example & self._classes(value) for value in term.values)
        value = _NUMBERS[str(term.field)](classes, i, example.label)
        if value is None:
            return False
        return _matches_number(term, value)


def _matches_number(term: Term, value: float) -> bool:
    if term.op != ":":
        return _COMPARISONS[term.op](value, term.number)
    ranges = (parse_range(text) or (parse_number(text),) * 2 for text in term.values)
    return any(low <= value <= high for low, high in ranges)


def _matches_slice(term: Term, value: str) -> bool:
    """Whether the value of a slice feature is as the term has it: a number where both are numbers, else text, perhaps with `*`."""
    number = as_number(value)
    if term.op not in (":", "="):
        return number is not None and _COMPARISONS[term.op](number, term.number)
    for text in term.values:
        if number is not None and (parse_range(text) or as_number(text) is not None):
            if _matches_number(Term(None, None, ":", (text,)), number):
                return True
        elif re.fullmatch(re.escape(text).replace(r"\*", ".*"), value, re.IGNORECASE | re.DOTALL):
            return True
    return False


def _normalize(text: str) -> str:
    """The text as the grammar has it: no blanks around operators, and : where classes are compared by =; quotes stay."""
    parts = text.split('"')
    parts[::2] = [_EQUAL.sub(r"\1:", _OPERATOR.sub(r"\1", part)) for part in parts[::2]]
    return '"'.join(parts)


def _predicted_classes(classes: Classes, i: int) -> set[int] | None:
    """The classes that the model predicts: one, any number where it has labels, None of a quantity."""
    if classes.labels is not None:
        return set(classes.labels[i].tolist())
    return None if classes.predicted is None else {int(classes.predicted[i])}


def _why_unknown(field: str, classes: Classes) -> str | None:
    """Why a field is unknown for every example; None if it is not."""
    if field in (*_FIELDS_OF_EXAMPLE, "score"):
        return None
    if classes.count == 1:
        return f"the model's output is a single quantity, not classes; expected a condition on {_WITHOUT_CLASSES}"
    if field in ("probability", "margin", "loss") and classes.probabilities is None:
        return f"the model gives no probabilities of an example's classes, which {field} needs; score is its largest output"
    if field == "margin" and classes.labels is not None:
        return "margin: the model's classes do not exclude each other; use probability"
    return None


def _probability(classes: Classes, i: int) -> float | None:
    """Of the predicted class, the most probable one where there are several."""
    return None if classes.predicted is None else classes.probability(i, [int(classes.predicted[i])])


def _score(classes: Classes, i: int) -> float:
    """The output for the predicted class, or the quantity that is the model's only output."""
    return float(classes.outputs[i].max())
