"""The manifest of a run: what a reader of its store must know about how it came about."""

from __future__ import annotations

import datetime
import importlib.metadata
import sys
from typing import Any

from beam_pipelines import preprocessing
from beam_pipelines.arguments import Arguments
from beam_pipelines.configuration import as_json
from beam_pipelines.explaining import Request
from beam_pipelines.sources import Plan, files
from tb_deepexplain.evaluation import find_measure
from tb_deepexplain.methods import find_method

_PACKAGES = ("tensorboard-plugin-deepexplain", "tensorflow", "keras", "apache-beam", "numpy", "pyarrow")


def describe_methods(request: Request) -> list[dict[str, Any]]:
    """The methods in the order asked, with all their parameters."""
    found = []
    for name, given in request.methods:
        method = find_method(name)
        parameters = {p.name: as_json(given.get(p.name, p.default)) for p in method.parameters}
        described = {key: getattr(method, key) for key in ("id", "title", "family", "signed", "sums_to")}
        found.append({**described, "parameters": parameters})
    return found


def describe_measures(request: Request) -> list[dict[str, Any]]:
    """The measures in the order asked, with all their parameters."""
    found = []
    for name, given in request.measures:
        measure = find_measure(name)
        parameters = {p.name: as_json(given.get(p.name, p.default)) for p in measure.parameters}
        described = {key: getattr(measure, key) for key in ("id", "title", "better", "axis")}
        found.append({**described, "parameters": parameters})
    return found


def configure(arguments: Arguments, request: Request, model: str, plan: Plan) -> dict[str, Any]:
    """What the content of a store depends on: a store may only be resumed with the same."""
    import tb_deepexplain

    return {
        "version": tb_deepexplain.__version__,
        "model": model,
        "input": plan.fingerprint,
        "format": ",".join(plan.formats),
        "methods": {m["id"]: m["parameters"] for m in describe_methods(request)},
        "measures": {m["id"]: m["parameters"] for m in describe_measures(request)},
        "measured": request.measured if request.measures else None,
        "superpixels": request.superpixels,
        "target": str(request.target),
        "labels": _listed(request.labels),
        "vocab": _listed(request.vocabulary),
        "step": request.step,
        "mixed_precision": request.mixed_precision or None,
        "unit_size": arguments.unit_size,
        "label_feature": arguments.label_feature,
        "id_feature": arguments.id_feature,
        "features": arguments.features,
        "schema": arguments.schema and files.fingerprint(arguments.schema).hex(),
        "resize": arguments.resize,
        "preprocess": arguments.preprocess and preprocessing.identify(arguments.preprocess),
    }


def build(arguments: Arguments, request: Request, kind: str, fingerprint: str, runner: str) -> dict[str, Any]:
    """The manifest of the command's store, less what the store itself adds."""
    options = {
        "input": list(arguments.input),
        "preprocess": arguments.preprocess,
        "runner": runner,
        "batch_size": arguments.batch_size,
        "unit_size": arguments.unit_size,
        "beam": list(arguments.beam),
    }
    return describe(request, kind, fingerprint, arguments.name, options)


def describe(request: Request, kind: str, fingerprint: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """What readers of any store are told."""
    return {
        "name": name,
        "kind": kind,
        "step": request.step,
        "methods": describe_methods(request),
        "measures": describe_measures(request),
        "measured": request.measured,
        "superpixels": request.superpixels,
        "target": str(request.target),
        "mixed_precision": request.mixed_precision,
        "labels": _listed(request.labels),
        "model": {"path": request.model, "fingerprint": fingerprint},
        "options": options,
        "versions": _versions(),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            continue
    return found
