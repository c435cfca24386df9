"""The HTTP API as an OpenAPI 3.1 description and as docs/http_api.md, from the table of routes.

python -m tb_deepexplain.plugin.openapi    writes openapi.json here, and the routes in docs/http_api.md (`make types`)
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from typing_extensions import Never, NotRequired, is_typeddict

from tb_deepexplain._version import __version__
from tb_deepexplain.plugin.answers import FURTHER_KEYS, UNIONS, Summaries
from tb_deepexplain.plugin.api import BINARY, ROUTES, Route
from tb_deepexplain.plugin.parameters import Parameter

DESCRIPTION = Path(__file__).with_name("openapi.json")
PAGE = Path(__file__).parents[2] / "docs" / "http_api.md"
BEGIN, END = "<!-- routes: written by `make types` -->", "<!-- end of routes -->"
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_REFUSALS = {
    "400": "a parameter is unknown, missing, malformed or repeated",
    "404": "no such run, store, example or map",
    "405": "a method other than GET or HEAD",
    "503": "the store is there but cannot be read: not committed, damaged, or of a newer format",
}


def description() -> dict[str, Any]:
    """The OpenAPI document."""
    schemas: dict[str, Any] = {}
    paths = {route.path: {"get": _operation(route, schemas)} for route in ROUTES.values()}
    for union in UNIONS.values():
        schema_of(union, schemas)
    schema_of(Summaries, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tb_deepexplain's TensorBoard plugin",
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/data/plugin/deepexplain"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def schema_of(annotation: Any, schemas: dict[str, Any]) -> Any:
    """The JSON schema of a type of answers.py; those that have names are put into `schemas` and referred to."""
    name = next((name for name, union in UNIONS.items() if union == annotation), None)
    if name is not None:
        schemas[name] = _anonymous(annotation, schemas)
    elif is_typeddict(annotation):
        name = annotation.__name__
        if name not in schemas:
            schemas[name] = {}  # a type may contain itself
            schemas[name] = _object(annotation, schemas)
    return {"$ref": f"#/components/schemas/{name}"} if name else _anonymous(annotation, schemas)


def _anonymous(annotation: Any, schemas: dict[str, Any]) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if annotation is Never:
        return False
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if origin is typing.Annotated:
        schema = schema_of(arguments[0], schemas)
        return {**schema, "description": arguments[1]}
    if origin is typing.Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (typing.Union, UnionType):
        return {"anyOf": [schema_of(argument, schemas) for argument in arguments]}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], schemas)}
    if origin is tuple:
        items = [schema_of(argument, schemas) for argument in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], schemas)}
    raise TypeError(f"{annotation!r} has no JSON schema; extend openapi.py")


def _object(typed_dict: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    properties, required = {}, []
    for name, hint in typing.get_type_hints(typed_dict, include_extras=True).items():
        if get_origin(hint) is NotRequired:
            hint = get_args(hint)[0]
        else:
            required.append(name)
        properties[name] = schema_of(hint, schemas)
    further = schema_of(FURTHER_KEYS[typed_dict], schemas) if typed_dict in FURTHER_KEYS else False
    described = {"description": inspect.cleandoc(text)} if (text := vars(typed_dict).get("__doc__")) else {}
    return {
        **described,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": further,
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    header = {"x-header": schema_of(route.header, schemas)} if route.header else {}
    content = {
        media_type: {"schema": schema_of(answer, schemas), **header} if answer else {**_untyped(media_type), **header}
        for media_type, answer in route.answers.items()
    }
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in route.response_headers.items()
    }
    details = {"description": _unwrapped(route.details)} if route.details else {}
    return {
        "operationId": route.name,
        "summary": route.summary,
        **details,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": {
            "200": {"description": route.summary, "content": content, **({"headers": headers} if headers else {})},
            **{
                status: {"description": reason, "content": {"text/plain": {"schema": {"type": "string"}}}}
                for status, reason in _REFUSALS.items()
            },
        },
    }  # fmt: skip


def _untyped(media_type: str) -> dict[str, Any]:
    """Bytes have no schema in OpenAPI 3.1."""
    return {} if media_type == BINARY else {"schema": {"type": "string"}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.schema)
    if parameter.default is not None:
        schema["default"] = _as_sent(parameter.default)
    serialized = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    described = {"name": parameter.name, "in": "query", "description": parameter.description}
    return {**described, "required": parameter.required, **serialized, "schema": schema}


def _as_sent(value: Any) -> Any:
    if isinstance(value, bool):
        return str(int(value))
    return list(value) if isinstance(value, tuple) else value


def markdown() -> str:
    """The section *Routes* of docs/http_api.md: the parameters that several routes share, then each route."""
    routes = list(ROUTES.values())
    all_parameters = [parameter for route in routes for parameter in route.parameters]
    shared = {p.name: p for p in all_parameters if sum(p in route.parameters for route in routes) > 2}
    sections = [["### Shared parameters", "", *_table(shared.values())], *(_section(route, shared) for route in routes)]
    return "\n\n".join("\n".join(lines) for lines in sections)


def _section(route: Route, shared: typing.Mapping[str, Parameter]) -> Iterator[str]:
    yield from (f"### `{route.path}`", "", f"{route.summary}: {_answer(route)}.")
    if route.details:
        yield from ("", route.details)
    for name, text in route.response_headers.items():
        yield from ("", f"The header `{name}` holds {text}.")
    of_all = [parameter for parameter in route.parameters if shared.get(parameter.name) == parameter]
    special = [parameter for parameter in route.parameters if parameter not in of_all]
    if of_all:
        yield from ("", f"Shared parameters: {', '.join(f'`{parameter.name}`' for parameter in of_all)}.")
    if special:
        yield from ("", *_table(special))


def _table(parameters: Iterable[Parameter]) -> Iterator[str]:
    yield "| parameter | meaning | values | default |"
    yield "|---|---|---|---|"
    yield from (_row(parameter) for parameter in parameters)


def _answer(route: Route) -> str:
    media = []
    for media_type, answer in route.answers.items():
        schemas = [a.__name__ for a in get_args(answer) or (answer,) if a]
        media.append(f"`{media_type}`" + (f" ({', '.join(f'`{name}`' for name in schemas)})" if schemas else ""))
    return " or ".join(media)


def _row(parameter: Parameter) -> str:
    default = "" if parameter.default is None else parameter.default
    if isinstance(default, bool):
        default = int(default)
    if isinstance(default, tuple):
        default = ",".join(default)
    shown = "required" if parameter.required else f"`{default}`" if default != "" else ""
    return f"| `{parameter.name}` | {parameter.description} | {_values(parameter.schema)} | {shown} |"


def _values(schema: typing.Mapping[str, Any]) -> str:
    if "oneOf" in schema:
        return " or ".join(_values(option) for option in schema["oneOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"{_values(schema['items'])}, …"
    if schema["type"] == "integer":
        low, high = schema["minimum"], schema["maximum"]
        return "whole number" if high >= 2**31 - 1 else f"{low:,} to {high:,}"
    return "text"


def _unwrapped(text: str) -> str:
    return " ".join(text.split())


def document(page: str) -> str:
    """docs/http_api.md with its routes rewritten."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"docs/http_api.md has lost its marks {BEGIN} and {END}; put them back")
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{end}{after}"


def main() -> None:
    DESCRIPTION.write_text(json.dumps(description(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(document(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
