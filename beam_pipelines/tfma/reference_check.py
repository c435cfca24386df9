"""Whether the store that attribution drift is measured from was explained as the evaluation explains.

The same model differs from itself by a tenth of its attributions, and more, if the method or the baseline is another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from beam_pipelines.tfma.pooling import REGIONS
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.manifest import as_list, describe_methods
from tb_deepexplain.recording.request import Request
from tb_deepexplain.store.reader import Store

_SHORT = 60  # characters of a value in a message
_EACH_CLASS = "each class"  # the target of an extractor that explains all classes


def choose_method(store: Store, method: str | None) -> str:
    """The method of a store's maps that are compared; ParameterError unless it is named or the only one."""
    methods = [described["id"] for described in store.manifest["methods"]]
    if method in methods or (method is None and len(methods) == 1):
        return method or methods[0]
    advice = f"expected those of {method}" if method else "choose one with method=..."
    raise ParameterError(f"AttributionDrift: reference {store.directory} has maps of {', '.join(methods)}; {advice}")


def check_reference(
    options: Mapping[str, Any], request: Request, pool: str | None, regions: int, per_class: bool
) -> None:
    """ParameterError, which names what differs, unless the reference in the `options` of an AttributionDrift was explained as the
    `request` of an extractor explains."""
    store = Store(options["reference"])
    method = choose_method(store, options["method"])
    described = next(each for each in store.manifest["methods"] if each["id"] == method)
    model = store.manifest["model"]
    there = {
        "method": method,
        **described["parameters"],
        "target": store.manifest["target"],
        **{name: model.get(name) for name in ("inputs", "logits")},
        **_pooling(options["pool"], options["regions"]),
    }
    [described] = describe_methods(request)
    target = str(request.target) if request.score is None else request.score
    here = {
        "method": described["id"],
        **described["parameters"],
        "target": _EACH_CLASS if per_class else target,
        "inputs": as_list(request.inputs),
        "logits": request.logits,
        **_pooling(pool, regions),
    }
    if method != described["id"]:  # other methods have other parameters
        there, here = ({"method": values["method"]} for values in (there, here))
    if differences := list(_differences("", there, here)):
        raise ParameterError(
            f"AttributionDrift: reference {store.directory} was explained differently, and would drift from itself: "
            f"{'; '.join(differences)}; make a store as the evaluation explains, or give AttributionsExtractor the reference's"
        )


def _pooling(pool: str | None, regions: int) -> dict[str, Any]:
    return {"pool": pool, "regions": regions if pool == "region" else REGIONS}


def _differences(prefix: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """The differences in words; `prefix` precedes every name."""
    for name in dict.fromkeys([*there, *here]):
        stored, requested = there.get(name), here.get(name)
        if isinstance(stored, dict) and isinstance(requested, dict):
            yield from _differences(f"{prefix}{name}.", stored, requested)
        elif not _are_equal(stored, requested):
            yield f"{prefix}{name} is {_short(stored)} there and {_short(requested)} here"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


def _are_equal(stored: Any, requested: Any) -> bool:
    """Whether two values of a manifest are equal, up to the rounding of float32 and to axes of length 1."""
    if stored is None or requested is None:
        return stored is requested
    try:
        first, second = (np.asarray(value, float).squeeze() for value in (stored, requested))
    except (TypeError, ValueError):  # such as a text
        return bool(stored == requested)
    return first.shape == second.shape and np.allclose(first, second, rtol=1e-6, atol=0)
