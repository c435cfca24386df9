"""The manifest of a store: what was explained, how, and by which versions."""

from __future__ import annotations

import base64
import datetime
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.attribution.precision_error import PrecisionError
from tb_deepexplain.evaluation.measures import find_measure
from tb_deepexplain.recording.display import encode_png
from tb_deepexplain.recording.request import Request
from tb_deepexplain.store.configuration import as_json
from tb_deepexplain.store.records import ModelInput
from tb_deepexplain.store.slice_features import MANIFEST_KEY

_PACKAGES = ("tensorboard-plugin-deepexplain", "tensorflow", "keras", "apache-beam", "numpy", "pyarrow")
_SIDE = 96  # the longest side of a baseline's picture, in pixels


def describe_methods(request: Request) -> list[dict[str, Any]]:
    """The methods in the order of the request, with all parameters, and a small picture of a baseline that is one."""
    described_rows = []
    for name, values in request.methods:
        method = find_method(name)
        parameters = as_json(method.with_defaults(values))
        described = {
            key: getattr(method, key) for key in ("id", "title", "family", "signed", "sums_to", "baseline_parameter")
        }
        described_rows.append({**described, "parameters": parameters, **_baseline_picture(method.baseline(values))})
    return described_rows


def _baseline_picture(baseline: Any) -> dict[str, str]:
    """A baseline that is a picture, as a small PNG in base64."""
    if not isinstance(baseline, np.ndarray) or baseline.ndim < 3:
        return {}
    values = baseline.reshape(baseline.shape[-3:])
    step = -(-max(values.shape[:2]) // _SIDE)
    return {"baseline_picture": base64.b64encode(encode_png(values[::step, ::step])).decode()}


def describe_measures(request: Request) -> list[dict[str, Any]]:
    """The measures in the order of the request, with all parameters."""
    described_rows = []
    for name, values in request.measures:
        measure = find_measure(name)
        parameters = as_json(measure.with_defaults(values))
        described = {key: getattr(measure, key) for key in ("id", "title", "better", "axis")}
        described_rows.append({**described, "parameters": parameters})
    return described_rows


def describe_store(
    request: Request,
    modality: str,
    inputs: Sequence[ModelInput],
    fingerprint: str,
    name: str,
    options: dict[str, Any],
    precision_errors: Mapping[str, PrecisionError] | None = None,  # by method
) -> dict[str, Any]:
    """The manifest of a store, without what the store's writer adds."""
    slices = [{"name": feature} for feature in request.slice_features]
    return {
        "name": name,
        "modality": modality,
        "inputs": list(inputs),
        "step": request.step,
        "methods": describe_methods(request),
        "measures": describe_measures(request),
        "measured": request.measured,
        "superpixels": request.superpixels,
        "target": str(request.target) if request.score is None else request.score,
        "score": request.score,
        "precision": request.precision,
        "precision_error": {method: error.as_json() for method, error in (precision_errors or {}).items()},
        "labels": as_list(request.labels),
        **({MANIFEST_KEY: slices} if slices else {}),
        "model": {
            "path": request.model,
            "fingerprint": fingerprint,
            "signature": request.signature,
            "output": request.output,
            "logits": request.logits,
            "inputs": as_list(request.inputs),
            "custom_objects": list(request.custom_objects),
        },
        "options": options,
        "versions": _versions(),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def as_list(values: tuple[str, ...] | None) -> list[str] | None:
    """A list for JSON."""
    return None if values is None else list(values)


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            continue
    return versions
