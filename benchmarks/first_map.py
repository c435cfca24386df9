"""Time to the first map: tracing and compiling, relative to TensorFlow's own gradient of the same model.

    python -m benchmarks.first_map [--table keras_applications ...] [--model DenseNet121 ...] [--method saliency ...] [--worst 10]

The time of a method is that of `Explainer(...)` and its first `run`, from the model object, less that of the second `run`; of TensorFlow's
gradient that of tracing a tf.function around a GradientTape, for batches of any size, and of its first call, less that of the second.
Processor seconds, so that other work on the machine disturbs little. The fixed cost of a method is its time on one dense layer; a second
ratio leaves it out, and so tells how tracing grows with the model. The models are those of the zoo, and LSTMs of 200 steps
(`make test-zoo` installs what KerasHub's and Hugging Face's need).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tb_deepexplain as dx
from tb_deepexplain.attribution.methods import TABLE, Method
from tests.zoo.as_called import AsCalled
from tests.zoo.checks import CHECKS
from tests.zoo.keras_layers import LOOP, PRODUCT, layer
from tests.zoo.member import Member
from tests.zoo.page import SECTIONS

GOAL = 3.0  # times TensorFlow's own
LSTMS = "LSTMs"
MEMBERS = SECTIONS | {
    LSTMS: [
        layer("LSTM of 200 steps", (200, 2), lambda k: k.LSTM(3), **LOOP),
        layer("LSTM of 200 steps, unrolled", (200, 2), lambda k: k.LSTM(3, unroll=True), **PRODUCT),
    ]
}
DENSE = layer("one dense layer", (6,), lambda k: k.Dense(2))


def seconds(call: Callable[[], Any]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def tensorflow_gradient(called: AsCalled) -> float:
    """Seconds until TensorFlow has traced the model's gradient and run it for the first time, without the run itself."""
    rows = np.arange(called.n)
    points = [tf.constant(entry) for entry in called.entries]
    specs = [tf.TensorSpec([None, *point.shape[1:]], point.dtype) for point in points]
    gradient = tf.function(lambda points: called.traced_gradient(points, rows), input_signature=[specs])
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


class Time(NamedTuple):
    """Processor seconds to the first map; `fixed` are the method's on one dense layer, `floor` those of TensorFlow's gradient."""

    model: str
    method: str
    seconds: float
    fixed: float
    floor: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.floor

    @property
    def ratio_beyond_fixed(self) -> float:
        return max(0.0, self.seconds - self.fixed) / self.floor


def measure(members: list[Member], methods: list[Method]) -> Iterator[Time]:
    """The times of all pairs that are not refused."""
    called = AsCalled(DENSE)
    for _ in range(2):  # the first loads kernels and Keras' lazy parts
        fixed = {method.id: first_map(DENSE, called, method) for method in methods}
    for member in members:
        called = AsCalled(member)
        tensorflow_gradient(called)  # kernels and Keras' lazy parts
        for method in methods:
            if member.expected(member.refused, method) is None:
                floor = tensorflow_gradient(
                    called
                )  # again for each method: other work on the machine changes it by half
                yield Time(member.name, method.id, first_map(member, called, method), fixed[method.id], floor)


def main() -> None:
    """Print all ratios, and the worst."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", nargs="*", help=f"sections of docs/zoo.md, or {LSTMS}")
    parser.add_argument("--model", nargs="*")
    parser.add_argument("--method", nargs="*")
    parser.add_argument("--worst", type=int, default=20)
    options = parser.parse_args()
    members = [m for title, of in MEMBERS.items() if not options.table or title in options.table for m in of]
    members = [m for m in members if not options.model or m.name in options.model]
    methods = [m for m in TABLE if not options.method or m.id in options.method]
    times = []
    for one in measure(members, methods):
        times.append(one)
        print(
            f"{one.model:30} {one.method:22} {one.seconds:6.2f} s / {one.floor:6.2f} s = {one.ratio:5.1f}; "
            f"{one.ratio_beyond_fixed:5.1f} without the method's fixed {one.fixed:.2f} s",
            flush=True,
        )
    ratios = {"the worst": lambda one: one.ratio, "the worst beyond fixed costs": lambda one: one.ratio_beyond_fixed}
    for title, of_time in ratios.items():
        table = Table("time / TensorFlow's", "model", "method", "seconds", "fixed", "TensorFlow's", title=title)
        for one in sorted(times, key=of_time, reverse=True)[: options.worst]:
            numbers = (f"{seconds:.2f}" for seconds in (one.seconds, one.fixed, one.floor))
            table.add_row(f"{of_time(one):.1f}", one.model, one.method, *numbers)
        Console().print(table)
        print(f"{sum(of_time(one) <= GOAL for one in times)} of {len(times)} within {GOAL:g} times")


if __name__ == "__main__":
    main()
