"""The plugin's HTTP side: routes, status codes and caching.

api.py lists the routes; views.py, page_of_maps.py, summary.py and export.py compute the answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from tb_deepexplain.errors import StoreError
from tb_deepexplain.plugin import api, parameters
from tb_deepexplain.plugin.errors import BadRequest, NotFound
from tb_deepexplain.store.marker import PLUGIN_NAME

if TYPE_CHECKING:
    from tb_deepexplain.plugin.catalogue import Catalogue, StoreKey
    from tb_deepexplain.plugin.served_store import ServedStore

_STATIC = Path(__file__).parent / "static"
_ASSET = re.compile(r"index\.js|assets/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.(?:js|css)")
_LONGEST_ASSET = 200  # characters; file systems raise an error for names of more than 255 bytes
_STATIC_TYPES = {".js": "application/javascript", ".css": "text/css"}
_YEAR = 365 * 24 * 3600
_HOUR = 3600

Headers = Sequence[tuple[str, str]]


class Reply(NamedTuple):
    """The answer of a route: an object to send as JSON, or text or bytes."""

    body: Any
    media_type: str = api.JSON
    headers: Headers = ()
    cacheable: bool = True  # while the store keeps its version


class Request(NamedTuple):
    """A request for a store: the store, the parsed parameters, and the HTTP request."""

    store: ServedStore
    values: Mapping[str, Any]
    http: wrappers.Request

    @property
    def selection(self) -> parameters.Selection:
        return parameters.selection(self.values)

    @property
    def query(self) -> parameters.ExampleQuery:
        return parameters.example_query(self.values)


class DeepExplainPlugin(base_plugin.TBPlugin):
    """Attributions and their examples, from stores that marker events announce."""

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._context = context

    def get_plugin_apps(self) -> dict[str, Any]:
        apps = {api.ROUTES["stores"].path: _application(self._answer_stores)}
        for name, handler in _HANDLERS.items():
            apps[api.ROUTES[name].path] = _application(functools.partial(self._answer, name, handler))
        return {"/static/*": _application(_answer_static), **apps}

    def is_active(self) -> bool:
        return False  # TensorBoard shows the tab as soon as it lists one of our marker events

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(es_module_path="/static/index.js", tab_name="DeepExplain")

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        from tb_deepexplain.plugin.catalogue import Catalogue  # loads Arrow: with the first request, not at start

        return Catalogue(self._context)

    def keys(self, http: wrappers.Request) -> list[StoreKey]:
        """The stores that the runs of the request's experiment announce."""
        return self.catalogue.keys(plugin_util.context(http.environ), plugin_util.experiment_id(http.environ))

    def open(self, http: wrappers.Request, run: str, name: str) -> ServedStore:
        """A store by run and name. Only those that TensorBoard lists can be opened."""
        from tb_deepexplain.plugin.catalogue import StoreKey

        key = StoreKey(run, name)
        if key not in self.keys(http):
            raise NotFound(f"TensorBoard lists no store {name!r} in run {run!r}")
        return self.catalogue.open(key)

    def stores_by_run(self, http: wrappers.Request, name: str, modality: str) -> dict[str, ServedStore]:
        """The readable stores of this name and modality, by run."""
        stores = {}
        for key in self.keys(http):
            if key.store == name:
                with contextlib.suppress(StoreError):
                    store = self.catalogue.open(key)
                    if store.modality == modality:
                        stores[key.run] = store
        return stores

    def _answer_stores(self, http: wrappers.Request) -> wrappers.Response:
        from tb_deepexplain.plugin import views

        _parse(http, api.ROUTES["stores"])
        return _respond(http, Reply(views.describe_stores(self.catalogue, self.keys(http)), cacheable=False), 0)

    def _answer(self, name: str, handler: Handler, http: wrappers.Request) -> wrappers.Response:
        values = _parse(http, api.ROUTES[name])
        store = self.open(http, values["run"], values["store"])
        reply = handler(self, Request(store, values, http))
        # An answer about a named version never changes; any other must be requested again.
        fresh = reply.cacheable and values["v"] == store.version
        return _respond(http, reply, _HOUR if fresh else 0)


Handler = Callable[[DeepExplainPlugin, Request], Reply]


def _query(_: DeepExplainPlugin, request: Request) -> Reply:
    from tb_deepexplain.plugin import views

    return Reply(views.columns(request.store, request.query, request.values["columns"]))


def _facet(_: DeepExplainPlugin, request: Request) -> Reply:
    from tb_deepexplain.plugin import views

    return Reply(views.facet(request.store, request.query, request.values["bins"]))


def _tiles(plugin: DeepExplainPlugin, request: Request) -> Reply:
    from tb_deepexplain.plugin.page_of_maps import page_of_maps
    from tb_deepexplain.plugin.pivot_columns import ColumnChoice

    store, values = request.store, request.values
    runs = plugin.stores_by_run(request.http, values["store"], store.modality) if values["pivot"] == "runs" else {}
    choice = ColumnChoice(values["pivot"], values["methods"], values["targets"], runs, values["change"])
    body = page_of_maps(store, request.query, choice, values["size"])
    return Reply(body, api.BINARY, cacheable=not runs)  # `v` is the version of one run only


def _export(_: DeepExplainPlugin, request: Request) -> Reply:
    from tb_deepexplain.plugin import export

    values = request.values
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{values['run']}_{values['store']}.{values['format']}")
    headers = [("Content-Disposition", f'attachment; filename="{name}"')]
    most = api.MAX_EXPORT_VALUES if values["values"] else api.MAX_EXPORT
    query = dataclasses.replace(request.query, limit=min(most, values["limit"]))
    body = export.export(request.store, query, values["format"], values["values"])
    return Reply(body, api.EXPORT_TYPES[values["format"]], headers)


def _tile(_: DeepExplainPlugin, request: Request) -> Reply:
    from tb_deepexplain.plugin import views

    values = request.values
    attributions = views.one_map(
        request.store, values["id"], values["method"], request.selection, values["flat"], values["input"]
    )
    return Reply(attributions.astype("<f4").tobytes(), api.BINARY, [("X-Shape", json.dumps(attributions.shape))])


def _example(_: DeepExplainPlugin, request: Request) -> Reply:
    from tb_deepexplain.plugin import views

    return Reply(views.example(request.store, request.values["id"], request.selection))


def _summary(_: DeepExplainPlugin, request: Request) -> Reply:
    from tb_deepexplain.plugin import summary

    query = parameters.ExampleQuery(request.selection, request.values["filter"], sort="id")
    return Reply(summary.PANELS[request.values["panel"]](request.store, query))


_HANDLERS: dict[str, Handler] = {
    "query": _query,
    "tiles": _tiles,
    "facet": _facet,
    "tile": _tile,
    "example": _example,
    "export": _export,
    "summary": _summary,
}


def _answer_static(http: wrappers.Request) -> wrappers.Response:
    name = http.path.rpartition("/static/")[2]
    file = _STATIC / name
    if len(name) > _LONGEST_ASSET or not _ASSET.fullmatch(name) or not file.is_file():
        built = (_STATIC / "index.js").is_file()
        reason = (
            f"no file {name[:80]!r}" if built else "the page is not built; run `npm ci && npm run build` in frontend/"
        )
        return _refuse(http, reason, 404)
    # The hashed files never change; the entry that names them must be requested every time.
    media_type, expires = _STATIC_TYPES[file.suffix], _YEAR if "/" in name else 0
    return http_util.Respond(http, file.read_bytes(), media_type, expires=expires)


def _application(answer: Callable[[wrappers.Request], wrappers.Response]) -> Any:
    """A WSGI application that answers GET only, and turns errors raised on purpose into a status and one sentence."""

    def guarded(http: wrappers.Request) -> wrappers.Response:
        if http.method not in ("GET", "HEAD"):
            return _refuse(http, f"{http.method} is not answered here; use GET", 405, [("Allow", "GET, HEAD")])
        try:
            return answer(http)
        except BadRequest as error:
            return _refuse(http, str(error), 400)
        except NotFound as error:
            return _refuse(http, str(error), 404)
        except StoreError as error:
            return _refuse(http, str(error), 503)

    return wrappers.Request.application(guarded)


def _parse(http: wrappers.Request, route: api.Route) -> dict[str, Any]:
    repeated = [name for name, values in http.args.lists() if len(values) > 1]
    if repeated:
        raise BadRequest(f"parameter {repeated[0]!r} occurs more than once")
    return parameters.parse(http.args, route.parameters)


def _respond(http: wrappers.Request, reply: Reply, expires: int) -> wrappers.Response:
    body = json.dumps(reply.body, allow_nan=False) if reply.media_type == api.JSON else reply.body
    return http_util.Respond(http, body, reply.media_type, expires=expires, headers=list(reply.headers))


def _refuse(http: wrappers.Request, sentence: str, status: int, headers: Headers = ()) -> wrappers.Response:
    text = f"deepexplain: {sentence}"
    return http_util.Respond(http, text, "text/plain", code=status, headers=list(headers))
