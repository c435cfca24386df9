"""Time to the first map: tracing and compiling, relative to TensorFlow's own gradient of the same model.

    python -m benchmarks.first_map [--table keras_applications ...] [--model DenseNet121 ...] [--method saliency ...] [--worst 10]

The time of a method is that of `Explainer(...)` and its first `run`, from the model object, less that of the second `run`; of TensorFlow's
gradient that of tracing a tf.function around a GradientTape and of its first call, less that of the second. Processor seconds, so that
other work on the machine disturbs little. The models are those of the zoo (`make test-zoo` installs what KerasHub's and Hugging
Face's need).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import TABLE, Method
from tests.zoo.as_called import AsCalled
from tests.zoo.checks import CHECKS
from tests.zoo.member import Member
from tests.zoo.page import SECTIONS

GOAL = 3.0  # times TensorFlow's own


def seconds(call: Callable[[], Any]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def tensorflow_gradient(called: AsCalled) -> float:
    """Seconds until TensorFlow has traced the model's gradient and run it for the first time, without the run itself."""
    rows = np.arange(called.n)
    gradient = tf.function(lambda points: called.traced_gradient(points, rows))
    points = [tf.constant(entry) for entry in called.entries]
    first, second = seconds(lambda: gradient(points)), seconds(lambda: gradient(points))
    return first - second


def first_map(member: Member, called: AsCalled, method: Method) -> float:
    """Seconds until the method has traced and compiled, without the map itself."""
    parameters = CHECKS[method.id].parameters(called) | dict(member.parameters.get(method.id, {}))
    explainers: list[Any] = []

    def first() -> None:
        model = member.explained(called.model)
        explainers.append(dx.Explainer(method.id, model, target=member.target, **member.options, **parameters))
        explainers[0].run(called.xs, return_result=True)

    return seconds(first) - seconds(lambda: explainers[0].run(called.xs, return_result=True))


def measure(members: list[Member], methods: list[Method]) -> Iterator[tuple[str, str, float, float]]:
    """(model, method, its seconds, seconds of TensorFlow's own gradient) for each pair that is not refused."""
    for member in members:
        called = AsCalled(member)
        tensorflow_gradient(called)  # kernels and Keras' lazy parts
        floor = tensorflow_gradient(called)
        for method in methods:
            if member.expected(member.refused, method) is None:
                yield member.name, method.id, first_map(member, called, method), floor


def main() -> None:
    """Print the worst ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", nargs="*", help="sections of docs/zoo.md")
    parser.add_argument("--model", nargs="*")
    parser.add_argument("--method", nargs="*")
    parser.add_argument("--worst", type=int, default=20)
    options = parser.parse_args()
    members = [m for title, of in SECTIONS.items() if not options.table or title in options.table for m in of]
    members = [m for m in members if not options.model or m.name in options.model]
    methods = [m for m in TABLE if not options.method or m.id in options.method]
    results = []
    for name, method, of_method, floor in measure(members, methods):
        results.append((of_method / floor, name, method, of_method, floor))
        print(f"{name:30} {method:22} {of_method:6.2f} s / {floor:6.2f} s = {of_method / floor:5.1f}", flush=True)
    table = Table("time / TensorFlow's", "model", "method", "seconds", "TensorFlow's", title="the worst")
    for ratio, name, method, of_method, floor in sorted(results, reverse=True)[: options.worst]:
        table.add_row(f"{ratio:.1f}", name, method, f"{of_method:.2f}", f"{floor:.2f}")
    Console().print(table)
    print(f"{sum(r[0] <= GOAL for r in results)} of {len(results)} within {GOAL:g} times")


if __name__ == "__main__":
    main()
