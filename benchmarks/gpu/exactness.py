"""Whether maps are right, in each precision: DeepExplain's golden cases, and maps of nets against float64 on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tb_deepexplain as dx
from benchmarks.gpu import models
from benchmarks.gpu.workers import Clock, Row, Worker, rows_of_all
from benchmarks.nets import Net

NETS = ("cnn28", "resnet")  # by default; the cheapest first, as of the methods
METHODS = ("gradient_x_input", "deeplift", "occlusion", "integrated_gradients")
REFERENCE = ("CPU", "float64")
ON_CPU = (REFERENCE, ("CPU", "float32"))
ON_GPU = (("GPU", "float32"), ("GPU", "tf32"), ("GPU", "mixed"), ("GPU", "float64"))
GOLDEN_SHARE = 0.25  # of the time
_AT_ONCE = 8  # examples on a CPU; the clock is read after them
_FILE = "file"  # in a row that says where maps are


def measure(
    seconds: float, on_gpu: bool, nets: Sequence[str], examples: int, cases: int | None = None
) -> Iterator[Row]:
    """Golden cases that hold, and the error of maps, by device and precision. `cases`: of the golden ones; None: all.

    Each figure comes as soon as it is known. The last row says what the time did not suffice for.
    """
    measured = (*ON_CPU[1:], *(ON_GPU if on_gpu else ()))
    left = [f"{device} {p} {maps}" for device, p in measured for maps in (*_names_of_maps(nets), "golden cases")]
    with tempfile.TemporaryDirectory() as folder:
        options = {"examples": examples, "cases": cases, "folder": folder}
        if on_gpu:  # a process each, side by side
            workers = [
                Worker(
                    explain,
                    {"CUDA_VISIBLE_DEVICES": "-1"} if device == "CPU" else {},
                    device=device,
                    precision=p,
                    nets=list(nets),
                    **options,
                )
                for device, p in (*ON_CPU, *ON_GPU)
            ]
            rows = rows_of_all(workers, seconds)
        else:
            rows = _explain_in_turn(seconds, nets, **options)
        for row in _compare(rows):
            key = " ".join([row.get("device_of_maps", ""), row.get("precision", ""), row.get("maps", "golden cases")])
            left = [each for each in left if each != key]
            yield row
    if left:
        yield {"left_out": left, "seconds": seconds}


def errors(maps: np.ndarray, exact: np.ndarray) -> Row:
    """Of each map max |difference| / max |map|: the median and the worst of all maps, in per cent."""
    axes = tuple(range(1, maps.ndim))
    shares = np.abs(maps - exact).max(axes) / np.abs(exact).max(axes)
    return {"median_percent": float(100 * np.median(shares)), "worst_percent": float(100 * shares.max())}


def explain(
    seconds: float,
    device: str,
    precision: str,
    nets: Sequence[str],
    examples: int,
    cases: int | None,
    folder: str,
) -> Iterator[Row]:
    """In a process: the maps of every net and method, as files; golden cases in the time that is left."""
    clock, is_reference = Clock(seconds), (device, precision) == REFERENCE
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    end_of_maps = 0.0 if is_reference else GOLDEN_SHARE * seconds
    for name in nets:
        net = models.load(name, examples)
        for method in METHODS:
            if clock.left() > end_of_maps:
                yield _explain(net, method, device, precision, clock, end_of_maps, folder)
    if not is_reference:
        yield from _check_golden_cases(clock, device, precision, cases)


def _explain_in_turn(
    seconds: float, nets: Sequence[str], examples: int, cases: int | None, folder: str
) -> Iterator[Row]:
    """On this CPU: of each net and method the maps of the reference, then those of each precision; then golden cases."""
    clock, end_of_maps = Clock(seconds), GOLDEN_SHARE * seconds
    for name in nets:
        net = models.load(name, examples)
        for method in METHODS:
            if clock.left() > end_of_maps:
                # A reference is always compared, else it was in vain.
                for device, precision in ON_CPU:
                    yield _explain(net, method, device, precision, clock, end_of_maps, folder)
    for device, precision in ON_CPU[1:]:
        yield from _check_golden_cases(clock, device, precision, cases)


def _explain(net: Net, method: str, device: str, precision: str, clock: Clock, end: float, folder: str) -> Row:
    """The row of maps, which are in its file; on a CPU of as many examples as there is time for, until `end` seconds are left."""
    key = f"{net.name} {method}"
    row = {"device_of_maps": device, "precision": precision, "maps": key}
    try:
        explainer = dx.Explainer(method, net.model, precision=precision, **_parameters(net.name, method))
        at_once, parts = _AT_ONCE if device == "CPU" else len(net.x), list[np.ndarray]()
        for first in range(0, len(net.x), at_once):
            if not parts or clock.left() > end:
                parts.append(explainer.run(net.x[first : first + at_once], target=0))
        file = Path(folder) / f"{device} {precision} {key}.npy"
        np.save(file, np.concatenate(parts))
    except Exception as error:  # the others are measured all the same
        return row | {"error": _first_line(error)}
    return row | {_FILE: str(file)}


def _compare(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, those of maps with their errors instead of their file, as soon as the reference is there. It has no row."""
    exact, waiting = dict[str, np.ndarray](), list[Row]()
    for row in rows:
        if _FILE not in row:
            yield row
            continue
        if (row["device_of_maps"], row["precision"]) == REFERENCE:
            exact[row["maps"]] = np.load(row[_FILE])
        else:
            waiting.append(row)
        for known in [each for each in waiting if each["maps"] in exact]:
            waiting.remove(known)
            maps, reference = np.load(known.pop(_FILE)), exact[known["maps"]]
            n = min(len(maps), len(reference))
            yield known | {"examples": n} | errors(maps[:n], reference[:n])


def _check_golden_cases(clock: Clock, device: str, precision: str, most: int | None) -> Iterator[Row]:
    """The row of the golden cases that hold, if there is time for any."""
    held, count, failed, cases = 0, 0, list[str](), golden_cases(most)
    for case in cases:
        if clock.left() < 0:
            break
        count += 1
        if (reason := failure(case, precision)) is None:
            held += 1
        else:
            failed.append(f"{case['id']}: {reason}")
    if count:
        row = {"device_of_maps": device, "precision": precision, "golden": f"{held} of {count} hold"}
        yield row | {"held": held, "of": count, "failed": failed[:5], "cases_left_out": len(cases) - count}


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


def _names_of_maps(nets: Sequence[str]) -> list[str]:
    return [f"{net} {method}" for net in nets for method in METHODS]


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
