"""The manifest of a store: its keys and their types, and how it is read.

`read_manifest` reads the file once, bounds it and checks it against `Manifest`. What does not fit is a StoreError that names the
key; keys that this version does not know are kept, whatever they hold. So no reader of a manifest meets a value of another type.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
import sys
import typing
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin

from typing_extensions import NotRequired, is_typeddict

from tb_deepexplain.errors import StoreError
from tb_deepexplain.storage import read_bounded_text
from tb_deepexplain.store import version_1
from tb_deepexplain.store.layout import MANIFEST
from tb_deepexplain.store.records import FORMAT_VERSION

MOST_BYTES = 32 << 20  # of the file; 100,000 work units take 3 MB
MOST_LEVELS = 32  # of lists and objects within each other
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_TOO_DEEP = f"lists and objects within each other are more than {MOST_LEVELS} deep"
LARGEST_WHOLE = 2**53  # whole numbers above it are others in the page's JavaScript

Modality = Literal["image", "text", "tabular", "mixed"]


class Range(typing.NamedTuple):
    """The whole numbers that a key may have."""

    low: int
    high: int


Count = Annotated[int, Range(0, LARGEST_WHOLE)]
Step = Annotated[int, Range(-(2**63), 2**63 - 1)]
FileName = Annotated[str, re.compile(r"[^/\\\x00-\x1f]{1,200}")]  # part of the name of a file in the store's folder


class Counts(TypedDict):
    """Numbers of rows."""

    examples: Count
    maps: Count
    errors: Count


class Method(TypedDict):
    """A method with its parameters."""

    id: str
    title: str
    signed: bool
    family: NotRequired[str | None]
    sums_to: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]
    baseline_parameter: NotRequired[str | None]
    baseline_picture: NotRequired[str]  # a small PNG in base64


class Measure(TypedDict):
    """A measure with its parameters."""

    id: str
    title: str
    better: Literal["higher", "lower"]
    axis: NotRequired[str | None]
    parameters: NotRequired[dict[str, Any] | None]


class SliceFeature(TypedDict):
    """A slice feature; its type is missing only in a store without examples."""

    name: str
    type: NotRequired[Literal["number", "text"]]
    values: NotRequired[list[str] | None]


class Mean(TypedDict):
    """A mean with the ends of its confidence interval."""

    n: Count
    mean: float | None
    low: float | None
    high: float | None


class CurveMean(TypedDict):
    """The same, point by point."""

    n: Count
    mean: list[float | None] | None
    low: list[float | None] | None
    high: list[float | None] | None


class MeasureMean(TypedDict):
    """The mean of a measure over examples (missing if no map has a value), that of random maps, and both curves."""

    n: NotRequired[Count]
    mean: NotRequired[float | None]
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    random: NotRequired[Mean]
    curve: NotRequired[CurveMean]
    random_curve: NotRequired[CurveMean]
    at: NotRequired[list[float | None] | None]


class RankedMethod(TypedDict):
    """A method in the ranking of `tb-deepexplain evaluate`."""

    id: str
    mean_rank: NotRequired[float | None]
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    sanity: NotRequired[float | None]
    evaluations: float
    seconds: float


class Evaluation(TypedDict):
    """The ranking of `tb-deepexplain evaluate`."""

    advice: str
    ranked_by: list[str]
    methods: list[RankedMethod]


class PrecisionError(TypedDict):
    """How far the maps of a method differ from those in float32."""

    examples: Count
    median: float | None
    worst: float | None
    rank_correlation: float | None


class Spent(TypedDict):
    """What the run has cost."""

    examples_without_tf32: NotRequired[Count | None]


class Model(TypedDict):
    """The model that was explained."""

    path: NotRequired[str | None]
    fingerprint: NotRequired[str]
    signature: NotRequired[str | None]
    output: NotRequired[str | None]
    inputs: NotRequired[list[str] | None]


class Manifest(TypedDict):
    """The keys that readers use. A commit adds the first five; programs that write stores give the others."""

    format_version: int
    version: str
    counts: Counts
    units: list[FileName]
    index: list[FileName]
    name: NotRequired[str]
    modality: NotRequired[Modality]
    methods: NotRequired[list[Method]]
    measures: NotRequired[list[Measure] | None]
    slice_features: NotRequired[list[SliceFeature] | None]
    labels: NotRequired[list[str | float] | None]
    target: NotRequired[str | None]
    step: NotRequired[Step | None]
    steps: NotRequired[list[Step]]
    restored_step: NotRequired[Step | None]
    complete: NotRequired[bool]
    measured: NotRequired[float | None]
    superpixels: NotRequired[Count | None]
    faithfulness: NotRequired[dict[str, dict[str, MeasureMean]] | None]
    evaluation: NotRequired[Evaluation | None]
    precision: NotRequired[str | None]
    mixed_precision: NotRequired[bool | None]  # of stores before `precision`
    precision_error: NotRequired[dict[str, PrecisionError] | None]
    spent: NotRequired[Spent | None]
    model: NotRequired[Model | None]
    options: NotRequired[dict[str, Any] | None]
    versions: NotRequired[dict[str, str] | None]
    created: NotRequired[str | None]


def read_manifest(directory: Path) -> tuple[dict[str, Any], int]:
    """(the manifest of a store as version 2 has it, the format version of its files).

    StoreError if there is none, or if it is not one; FileNotFoundError and other errors of the filesystem pass.
    """
    try:
        text = read_bounded_text(directory / MANIFEST, MOST_BYTES)
        if text is None:
            raise _unreadable(directory, f"it has more than {MOST_BYTES >> 20} MiB")
        if _is_too_deep(text):
            raise _unreadable(directory, _TOO_DEEP)
        # JSON has neither NaN nor infinity; Python writes and reads both. A number too large for a float is infinity, too.
        manifest = json.loads(text, parse_constant=_no_number, parse_float=_finite_number)
    except ValueError as error:
        raise _unreadable(directory, f"it is not JSON ({error})") from None
    if not isinstance(manifest, dict):
        raise _unreadable(directory, f"it is {_describe(manifest)}; expected an object")
    version = manifest.get("format_version")
    if type(version) is not int or version not in (1, FORMAT_VERSION):
        newer = type(version) is int and version > FORMAT_VERSION
        advice = "upgrade tensorboard-plugin-deepexplain" if newer else "run the pipeline again"
        shown = version if version is None or isinstance(version, int) else _describe(version)
        raise StoreError(
            f"{directory} has store format {shown}; this version reads formats 1 to {FORMAT_VERSION}: {advice}"
        )
    try:
        _check(manifest, Manifest, "")
        upgraded = version_1.upgrade_manifest(manifest)
        if version == 1:
            _check(upgraded, Manifest, "")
    except _Unfit as unfit:
        raise _unreadable(directory, str(unfit)) from None
    return upgraded, version


def require(directory: Path, manifest: typing.Mapping[str, Any], *names: str) -> None:
    """StoreError unless the manifest has these keys."""
    if missing := [name for name in names if name not in manifest]:
        raise _unreadable(directory, f"it lacks {missing[0]!r}")


class _Unfit(Exception):
    """A value that the schema does not allow: its place, and why."""


def _unreadable(directory: Path, reason: str) -> StoreError:
    return StoreError(f"{directory}: this store's manifest cannot be read: {reason}; run the pipeline again")


def _no_number(_: str) -> None:
    return None


def _finite_number(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _is_too_deep(text: str) -> bool:
    """Whether lists and objects lie too deep within each other for the parser, which recurses."""
    steps = (_STEPS[bracket] for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)))
    return any(level > MOST_LEVELS for level in itertools.accumulate(steps))


@functools.cache
def _keys(typed_dict: Any) -> dict[str, tuple[Any, bool]]:
    """(type, whether it is required) by key."""
    hints = typing.get_type_hints(typed_dict, include_extras=True)
    return {
        key: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, True)
        for key, hint in hints.items()
    }


def _check(value: Any, expected: Any, place: str) -> None:
    """_Unfit unless the value is of the expected type; `place` names it, such as `methods[2].id`."""
    origin, arguments = get_origin(expected), get_args(expected)
    if expected is Any:
        return
    if origin in (typing.Union, UnionType):
        if value is None and type(None) in arguments:
            return
        first, *others = (argument for argument in arguments if argument is not type(None))
        # Of several types, the others are numbers.
        _check(value, float if others and type(value) in (int, float) else first, place)
    elif origin is Annotated:
        _check(value, arguments[0], place)
        _check_rule(value, arguments[1], place)
    elif is_typeddict(expected):
        _check_object(value, expected, place)
    elif origin is list:
        _require(isinstance(value, list), value, "a list", place)
        for i, item in enumerate(value):
            _check(item, arguments[0], f"{place}[{i}]")
    elif origin is dict:
        _require(isinstance(value, dict), value, "an object", place)
        for key, item in value.items():
            _check(key, str, f"{place}: a key")
            _check(item, arguments[1], f"{place}.{key}")
    elif origin is Literal:
        _require(isinstance(value, str) and value in arguments, value, " or ".join(map(repr, arguments)), place)
    else:
        _check_plain(value, expected, place)


def _check_object(value: Any, typed_dict: Any, place: str) -> None:
    _require(isinstance(value, dict), value, "an object", place)
    for key, (hint, is_required) in _keys(typed_dict).items():
        if key in value:
            _check(value[key], hint, f"{place}.{key}" if place else key)
        elif is_required:
            raise _Unfit(f"{place or 'it'} lacks {key!r}")


def _check_rule(value: Any, rule: Range | re.Pattern[str], place: str) -> None:
    if isinstance(rule, Range):
        _require(rule.low <= value <= rule.high, value, f"a whole number from {rule.low} to {rule.high}", place)
    else:
        _require(rule.fullmatch(value) is not None, value, "the name of a file in the store", place)


def _check_plain(value: Any, expected: type, place: str) -> None:
    """Text, a number, or true or false."""
    if expected is str:
        _require(isinstance(value, str), value, "text", place)
        _require(_is_utf8(value), value, "text without lone surrogates", place)
    elif expected is bool:
        _require(isinstance(value, bool), value, "true or false", place)
    elif expected is int:
        _require(type(value) is int, value, "a whole number", place)
    else:
        _require(type(value) in (int, float) and abs(value) <= sys.float_info.max, value, "a number", place)


def _is_utf8(text: str) -> bool:
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def _require(fits: bool, value: Any, expected: str, place: str) -> None:
    if not fits:
        raise _Unfit(f"{_shorten(place)} is {_describe(value)}; expected {expected}")


def _describe(value: Any) -> str:
    """A value of JSON in a few words."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names = {dict: "an object", list: "a list", int: "the number", float: "the number", str: "the text"}
    name = names[type(value)]
    if isinstance(value, dict | list):
        return name
    if isinstance(value, int) and abs(value) > 10**18:
        return "a number of many digits"
    return f"{name} {_shorten(ascii(value))}"


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
