"""The parameters of AttributionGen: checked when the pipeline is built, and stored as TFX stores them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx.dsl.placeholder import placeholder
from tfx.orchestration import data_types

from beam_pipelines.transforms import Attribute
from tb_deepexplain.errors import ParameterError

# Parameters of `transforms.Attribute`: those that TFX stores as they are, and those that are stored as JSON.
TYPES: dict[str, type] = {
    "target": str,
    "label_feature": str,
    "id_feature": str,
    "signature": str,
    "output": str,
    "score": str,
    "only": str,
    "precision": str,
    "batch_size": int,
    "superpixels": int,
}
JSON = ("methods", "measures", "labels", "vocabulary", "features", "inputs", "slice_features")
SWITCHES = (
    "logits",
    "check_model",
    "check_batch",
    "resize",
)  # true or false, as JSON; `resize` also the name of a method
ATTRIBUTE_PARAMETERS = (*TYPES, *JSON, *SWITCHES)
# Parameters of the executor. `splits` is stored as JSON.
EXECUTOR_TYPES: dict[str, type] = {
    "splits": str,
    "max_examples": int,
    "seed": int,
    "max_error_rate": float,
    "on_refusal": str,
}
EMPTY = "empty"  # of on_refusal: the artifacts stay empty, and the pipeline goes on
_ON_REFUSAL = ("fail", EMPTY)

_AS_JSON = (*JSON, *SWITCHES, "splits")
_POSITIVE = ("max_examples", "batch_size", "superpixels")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """ParameterError or UnknownMethodError for a value that cannot be right. RuntimeParameters are not checked."""
    values = {name: value for name, value in parameters.items() if value is not None and not _is_runtime(value)}
    for name in _POSITIVE:
        value = values.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ParameterError(f"AttributionGen: {name}={value!r}: expected a whole number of at least 1")
    splits = values.get("splits", ())
    if isinstance(splits, str) or not all(isinstance(split, str) and split for split in splits):
        raise ParameterError(f"AttributionGen: splits={splits!r}: expected a list of names, such as ['eval']")
    _check_on_refusal(values.get("on_refusal"))
    for name in TYPES.keys() & values:
        if not isinstance(values[name], TYPES[name]) and not isinstance(values[name], str | int):
            raise ParameterError(f"AttributionGen: {name}={values[name]!r}: expected a {TYPES[name].__name__}")
    for name in SWITCHES:
        if not isinstance(values.get(name, True), str | bool if name == "resize" else bool):
            raise ParameterError(f"AttributionGen: {name}={values[name]!r}: expected True or False")
    if "methods" in values:
        for name in JSON:
            encode(name, values.get(name))
        Attribute(
            "not loaded", **{name: _as_list(name, values[name]) for name in ATTRIBUTE_PARAMETERS if name in values}
        )


def _check_on_refusal(value: Any) -> None:
    if value not in (None, *_ON_REFUSAL):
        raise ParameterError(f"AttributionGen: on_refusal={value!r}: expected {' or '.join(_ON_REFUSAL)}")


def _as_list(name: str, value: Any) -> Any:
    """Names in one text, separated by commas, as a list."""
    is_names = isinstance(value, str) and name in (*JSON, "splits") and name != "features"
    return [each.strip() for each in value.split(",")] if is_names else value


def encode(name: str, value: Any) -> Any:
    """The value as TFX stores it; ParameterError if it cannot become JSON."""
    if value is None or _is_runtime(value):
        return value
    if name == "target":
        return str(value)
    if name not in _AS_JSON:
        return value
    try:
        return json.dumps(value if isinstance(value, str | bool | Mapping) else list(value))
    except TypeError:
        raise ParameterError(
            f"AttributionGen: {name}={value!r} cannot be stored as JSON, as TFX needs it; it may contain an array. "
            "For a baseline give a number, or use baseline_examples"
        ) from None


def decode(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that have a value, from TFX's execution properties."""
    names = {*ATTRIBUTE_PARAMETERS, *EXECUTOR_TYPES}
    values = {name: value for name, value in properties.items() if name in names and value not in (None, "")}
    for name in values.keys() & {*SWITCHES}:
        text = str(values[name]).strip('"')
        if (is_switch := text.lower() in ("true", "false")) or name == "resize":
            values[name] = text.lower() == "true" if is_switch else text
        else:
            raise ParameterError(f"AttributionGen: {name}={values[name]!r}: expected true or false")
    for name in values.keys() & {*JSON, "splits"}:
        values[name] = _decode_json(name, values[name])
    values["on_refusal"] = values.get("on_refusal", "fail")
    _check_on_refusal(values["on_refusal"])
    return values


def _decode_json(name: str, text: str) -> Any:
    """The value of JSON; or, of a RuntimeParameter, also names separated by commas."""
    value: Any = text
    if name == "features" or text.lstrip().startswith(("[", "{", '"')):
        try:
            value = json.loads(text)
        except ValueError as error:
            form = '{"INPUT": "FEATURE"}' if name == "features" else "a JSON list, or names separated by commas"
            raise ParameterError(f"AttributionGen: {name}={text!r}: expected {form} ({error})") from None
    return _as_list(name, value)


def _is_runtime(value: Any) -> bool:
    """Whether the value is known only when the pipeline runs."""
    return isinstance(value, data_types.RuntimeParameter | placeholder.Placeholder)
