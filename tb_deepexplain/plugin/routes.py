"""The plugin's HTTP side: routes, status codes and caching; what is answered comes from views.py."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import query_string
from tb_deepexplain.store.marker import PLUGIN_NAME

_STATIC = Path(__file__).parent / "static"
_ASSET = re.compile(r"index\.js|assets/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.(?:js|css)")
_TYPES = {".js": "application/javascript", ".css": "text/css"}
_YEAR = 365 * 24 * 3600
_HOUR = 3600

Handler = Callable[[wrappers.Request], wrappers.Response]


class DeepExplainPlugin(base_plugin.TBPlugin):
    """Attributions beside their examples, from stores that marker events announce."""

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._context = context

    def get_plugin_apps(self) -> dict[str, Any]:
        routes = {
            "stores": _stores, "query": _query, "tiles": _tiles, "facet": _facet, "tile": _tile, "example": _example, "export": _export,
            "summary": _summary,
        }  # fmt: skip
        apps = {f"/api/{name}": self._app(route) for name, route in routes.items()}
        return {"/static/*": wrappers.Request.application(_guard(_static)), **apps}

    def is_active(self) -> bool:
        return False  # TensorBoard shows the tab as soon as it lists one of our marker events

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(es_module_path="/static/index.js", tab_name="DeepExplain")

    @functools.cached_property
    def catalogue(self) -> Any:
        from tb_deepexplain.plugin.catalogue import Catalogue  # loads Arrow: at the first question, not at start

        return Catalogue(self._context)

    def _app(self, route: Callable[[DeepExplainPlugin, wrappers.Request], wrappers.Response]) -> Any:
        return wrappers.Request.application(_guard(functools.partial(route, self)))

    def places(self, request: wrappers.Request) -> Any:
        environ = request.environ
        return self.catalogue.places(plugin_util.context(environ), plugin_util.experiment_id(environ))

    def open(self, request: wrappers.Request, values: dict[str, Any]) -> Any:
        """The store that `run` and `store` name; only what TensorBoard lists can be named."""
        from tb_deepexplain.plugin.catalogue import Place

        for name in ("run", "store"):
            if name not in values:
                raise query_string.BadRequest(f"parameter {name!r} is missing; /api/stores lists what there is")
        place = Place(values["run"], values["store"])
        if place not in self.places(request):
            raise query_string.NotFound(f"TensorBoard lists no store {place.store!r} in run {place.run!r}")
        return self.catalogue.open(place)

    def runs(self, request: wrappers.Request, store: str, like: Any) -> dict[str, Any]:
        """The readable stores of this name and kind, by run."""
        found = {}
        for place in self.places(request):
            if place.store == store:
                with contextlib.suppress(StoreError):
                    grid = self.catalogue.open(place)
                    if grid.manifest["kind"] == like.manifest["kind"]:
                        found[place.run] = grid
        return found


def _stores(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import views

    _parse(request, {})
    return _json(request, views.describe_stores(plugin.catalogue, plugin.places(request)))


def _query(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import views

    values = _parse(request, {**query_string.STORE, **query_string.WINDOW, "columns": query_string.columns})
    grid = plugin.open(request, values)
    return _json(
        request,
        views.query(grid, query_string.window(values), values.get("columns", query_string.COLUMNS)),
        _age(grid, values),
    )


def _facet(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import views

    values = _parse(request, {**query_string.STORE, **query_string.WINDOW, "bins": query_string.integer(2, 200)})
    grid = plugin.open(request, values)
    return _json(request, views.facet(grid, query_string.window(values), values.get("bins", 60)), _age(grid, values))


def _tiles(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import page_of_maps

    values = _parse(request, {**query_string.STORE, **query_string.WINDOW, **query_string.LOOK})
    grid = plugin.open(request, values)
    pivot = values.get("pivot", "methods")
    runs = plugin.runs(request, values["store"], grid) if pivot == "runs" else {}
    look = page_of_maps.Look(pivot, values.get("methods"), values.get("targets"), runs, values.get("change") == "1")
    body = page_of_maps.page(grid, query_string.window(values), look, values.get("size", 224))
    expires = 0 if runs else _age(grid, values)  # the other runs have versions of their own
    return http_util.Respond(request, body, "application/octet-stream", expires=expires)


def _export(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import export

    more = {"limit": query_string.integer(1, export.MOST), "format": query_string.choice(tuple(export.FORMATS))}
    values = _parse(request, {**query_string.STORE, **query_string.WINDOW, **more}, required=("format",))
    grid = plugin.open(request, values)
    window = query_string.window({"limit": export.MOST, **values})
    body, form = export.export(grid, window, values["format"]), values["format"]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{values['run']}_{values['store']}.{form}")
    headers = [("Content-Disposition", f'attachment; filename="{name}"')]
    return http_util.Respond(request, body, export.FORMATS[form], expires=_age(grid, values), headers=headers)


def _tile(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import views

    known = {
        **query_string.STORE,
        **query_string.SELECTION,
        "id": query_string.text,
        "method": query_string.text,
        "flat": query_string.flag,
    }
    values = _parse(request, known, required=("id", "method"))
    grid = plugin.open(request, values)
    array = views.one_map(
        grid, values["id"], values["method"], query_string.selection(values), values.get("flat") == "1"
    )
    headers = [("X-Shape", json.dumps(array.shape))]
    body = array.astype("<f4").tobytes()
    return http_util.Respond(request, body, "application/octet-stream", expires=_age(grid, values), headers=headers)


def _example(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import views

    values = _parse(
        request, {**query_string.STORE, **query_string.SELECTION, "id": query_string.text}, required=("id",)
    )
    grid = plugin.open(request, values)
    return _json(request, views.example(grid, values["id"], query_string.selection(values)), _age(grid, values))


def _summary(plugin: DeepExplainPlugin, request: wrappers.Request) -> wrappers.Response:
    from tb_deepexplain.plugin import summary

    known = {
        **query_string.STORE,
        **query_string.SELECTION,
        "filter": query_string.WINDOW["filter"],
        "kind": query_string.choice(tuple(summary.KINDS)),
    }
    values = _parse(request, known, required=("kind",))
    grid = plugin.open(request, values)
    window = query_string.window({**values, "sort": "id"})
    return _json(request, summary.KINDS[values["kind"]](grid, window), _age(grid, values))


def _static(request: wrappers.Request) -> wrappers.Response:
    name = request.path.rpartition("/static/")[2]
    file = _STATIC / name
    if not _ASSET.fullmatch(name) or not file.is_file():
        built = (_STATIC / "index.js").is_file()
        reason = (
            f"no file {name[:80]!r}" if built else "the page is not built; run `npm ci && npm run build` in frontend/"
        )
        return _text(request, f"deepexplain: {reason}", 404)
    # The hashed files never change; the entry that names them must always be asked for.
    return http_util.Respond(request, file.read_bytes(), _TYPES[file.suffix], expires=_YEAR if "/" in name else 0)


def _guard(handler: Handler) -> Handler:
    """GET only; errors raised on purpose become a status and one sentence."""

    @functools.wraps(handler)
    def answer(request: wrappers.Request) -> wrappers.Response:
        if request.method not in ("GET", "HEAD"):
            return _text(
                request, f"deepexplain: {request.method} is not answered here; use GET", 405, [("Allow", "GET, HEAD")]
            )
        try:
            return handler(request)
        except query_string.BadRequest as error:
            return _text(request, f"deepexplain: {error}", 400)
        except query_string.NotFound as error:
            return _text(request, f"deepexplain: {error}", 404)
        except StoreError as error:
            return _text(request, f"deepexplain: {error}", 503)

    return answer


def _parse(
    request: wrappers.Request, known: dict[str, Callable[[str], Any]], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    repeated = [name for name, given in request.args.lists() if len(given) > 1]
    if repeated:
        raise query_string.BadRequest(f"parameter {repeated[0]!r} is given more than once")
    values = query_string.parse(request.args, known)
    missing = [name for name in required if name not in values]
    if missing:
        raise query_string.BadRequest(f"parameter {missing[0]!r} is missing; this route takes {', '.join(known)}")
    return values


def _age(grid: Any, values: dict[str, Any]) -> int:
    """An answer about a named version never changes; any other must be asked for again."""
    return _HOUR if values.get("v") == grid.manifest["version"] else 0


def _json(request: wrappers.Request, value: dict[str, Any], expires: int = 0) -> wrappers.Response:
    return http_util.Respond(request, json.dumps(value, allow_nan=False), "application/json", expires=expires)


def _text(
    request: wrappers.Request, sentence: str, code: int, headers: list[tuple[str, str]] | None = None
) -> wrappers.Response:
    return http_util.Respond(request, sentence, "text/plain", code=code, headers=headers)
