"""Whether maps are right, in each precision: DeepExplain's golden cases, and maps of two nets against float64 on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tb_deepexplain as dx
from benchmarks.gpu import models
from benchmarks.gpu.workers import Clock, Row, Worker, rows_of_all

NETS = ("cnn28", "resnet")
METHODS = ("gradient_x_input", "integrated_gradients", "deeplift", "occlusion")
REFERENCE = ("CPU", "float64")
ON_CPU = (REFERENCE, ("CPU", "float32"))
ON_GPU = (("GPU", "float32"), ("GPU", "tf32"), ("GPU", "mixed"), ("GPU", "float64"))


def measure(seconds: float, on_gpu: bool, examples: int, cases: int | None = None) -> Iterator[Row]:
    """Golden cases that hold, and the error of maps, by device and precision. `cases`: of the golden ones; None: all."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"examples": examples, "cases": cases, "folder": folder}
        if on_gpu:  # a process each, side by side
            workers = [
                Worker(
                    explain,
                    {"CUDA_VISIBLE_DEVICES": "-1"} if device == "CPU" else {},
                    device=device,
                    precision=p,
                    **options,
                )
                for device, p in (*ON_CPU, *ON_GPU)
            ]
            yield from rows_of_all(workers, seconds)
        else:
            for device, precision in ON_CPU:
                yield from explain(seconds / len(ON_CPU), device, precision, **options)
        exact = _read(folder, *REFERENCE)
        for device, precision in (*ON_CPU[1:], *(ON_GPU if on_gpu else ())):
            for key, maps in _read(folder, device, precision).items():
                if key in exact:
                    yield {"device_of_maps": device, "precision": precision, "maps": key, **errors(maps, exact[key])}


def errors(maps: np.ndarray, exact: np.ndarray) -> Row:
    """Of each map max |difference| / max |map|: the median and the worst of all maps, in per cent."""
    axes = tuple(range(1, maps.ndim))
    shares = np.abs(maps - exact).max(axes) / np.abs(exact).max(axes)
    return {"median_percent": float(100 * np.median(shares)), "worst_percent": float(100 * shares.max())}


def explain(
    seconds: float, device: str, precision: str, examples: int, cases: int | None, folder: str
) -> Iterator[Row]:
    """In a process: the maps of every net and method, as files; golden cases in the time that is left."""
    clock = Clock(seconds)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    for name in NETS:
        net = models.load(name, examples)
        for method in METHODS:
            key = f"{name} {method}"
            try:
                explainer = dx.Explainer(method, net.model, precision=precision, **_parameters(name, method))
                maps = explainer.run(net.x, target=0)
                np.save(Path(folder) / f"{device} {precision} {key}.npy", maps)
            except Exception as error:  # the others are measured all the same
                yield {"device_of_maps": device, "precision": precision, "maps": key, "error": _first_line(error)}
    if (device, precision) == REFERENCE:
        return
    held, count, failed = 0, 0, list[str]()
    for case in golden_cases(cases):
        if clock.left() < 0:
            break
        count += 1
        if (reason := failure(case, precision)) is None:
            held += 1
        else:
            failed.append(f"{case['id']}: {reason}")
    row = {
        "device_of_maps": device,
        "precision": precision,
        "golden": f"{held} of {count} hold",
        "held": held,
        "of": count,
    }
    yield row | {"failed": failed[:5]}


def golden_cases(most: int | None) -> list[dict[str, Any]]:
    """The cases that must hold, one of each net in turn: those that come first are of all nets."""
    from tests.attribution import golden

    turn: dict[str, int] = {}
    ordered = []
    for case in golden.known_cases():
        turn[case["model"]] = turn.get(case["model"], -1) + 1
        ordered.append((turn[case["model"]], case))
    return [case for _, case in sorted(ordered, key=lambda pair: pair[0])][:most]


def failure(case: dict[str, Any], precision: str) -> str | None:
    """Why a golden case does not hold; None if it does."""
    from tests.attribution import golden

    try:
        actual, expected = golden.explain(case, precision=precision)
    except Exception as error:
        return _first_line(error)
    tolerance = case["tolerance"]
    for name, values in expected.items():
        if not np.allclose(actual[name], values, tolerance["rtol"], tolerance["atol"], equal_nan=True):
            difference = np.nanmax(np.abs(actual[name] - values)) / (np.nanmax(np.abs(values)) or 1)
            return f"off by {difference:.1e} of the largest value"
    return None


def _parameters(name: str, method: str) -> dict[str, Any]:
    return models.parameters(name, next(row for row in dx.methods() if row.id == method))


def _read(folder: str, device: str, precision: str) -> dict[str, np.ndarray]:
    """Net and method → maps."""
    prefix = f"{device} {precision} "
    return {path.stem.removeprefix(prefix): np.load(path) for path in sorted(Path(folder).glob(f"{prefix}*.npy"))}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
