"""The request: what is explained and how. Small, so that every worker gets a copy."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tb_deepexplain.attribution.methods import check_methods
from tb_deepexplain.attribution.precision import Precision, read_precision
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.evaluation.measures import check_measures
from tb_deepexplain.named_functions import identify_function, load_function
from tb_deepexplain.recording.example_condition import ExampleCondition
from tb_deepexplain.recording.model_loading import check_custom_objects
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.store.slice_features import check_slice_features

if TYPE_CHECKING:  # imports TensorFlow, which a pipeline can be built without
    from tb_deepexplain.graph.model_graph import ModelGraph


LEAST_GPU_MEMORY = 0.25  # gigabytes of a process: less holds no model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is explained and how. `make_request` makes one from what a user writes."""

    model: str
    methods: tuple[tuple[str, dict[str, Any]], ...]  # ids with the parameters that are not the default
    target: Target
    labels: tuple[str, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    batch_size: int | None = None
    step: int = 0
    gpus: int | None = None  # for each process; None: one, or all for a process that is alone on its machine
    alone: bool = False
    processes_per_gpu: int = 1  # how many may share a GPU, each with its share of the memory
    gpu_memory: float | None = None  # gigabytes of each GPU that a process uses at most
    precision: Precision = "float32"
    measures: tuple[tuple[str, dict[str, Any]], ...] = ()  # ids with the parameters that are not the default
    measured: float = 1.0  # share of the examples whose maps are measured
    superpixels: int | None = None  # of a picture, which measures remove; None: single pixels
    signature: str | None = None  # of a SavedModel
    transform_graph: str | None = None  # folder of the graph of TFX's Transform in front of it
    output: str | None = None  # of a model with several
    logits: bool | None = None  # False: probabilities are explained; True: a score function gets the logits
    score: str | None = None  # module:function of the outputs, in place of a target
    inputs: tuple[str, ...] | None = None  # names of the inputs, layers or tensors that are explained; None: all inputs
    custom_objects: tuple[str, ...] = ()  # module:name of the classes that a Keras file names
    only: str | None = None  # the condition of example_condition.py that examples meet; None: all are explained
    slice_features: tuple[str, ...] = ()  # stored beside the maps, whether the model reads them or not
    check_model: bool = True  # compare the graph with the model as its owner calls it
    check_batch: bool = True  # warn where the output for an example depends on the other examples of its batch

    def on_cpu(self) -> Request:
        """The same request for a process that leaves the GPUs to others; in a precision that every CPU has."""
        precision: Precision = self.precision if self.precision == "float64" else "float32"
        return dataclasses.replace(self, gpus=0, processes_per_gpu=1, gpu_memory=None, precision=precision)


def make_request(
    model: str | os.PathLike[str],
    methods: Selection,
    *,
    target: Target | str | int = "predicted",
    measures: Selection = (),
    labels: Sequence[str] | None = None,
    vocabulary: Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    custom_objects: str | Sequence[str] = (),
    only: str | None = None,
    slice_features: str | Sequence[str] = (),
    precision: Precision | None = None,
    mixed_precision: bool = False,
    **options: Any,
) -> Request:
    """A checked request; `options` are further fields of Request. `mixed_precision=True` is `precision="mixed"`.

    `methods`: at least one id, or a dict of ids and parameters; `measures` likewise, perhaps none. Raises UnknownMethodError or
    ParameterError for a method, measure, parameter, target, score, custom object or condition `only` that does not exist, and for
    names that no slice feature can have. With a score, `target` may only be "predicted", which then has no meaning, or "sum". A
    score that is a function, and not a name, is for BatchExplainer as well.
    """
    chosen = target if isinstance(target, Target) else Target.parse(str(target), labels)
    if options.get("score") is not None:
        if options.get("output") is not None or chosen.rule not in ("predicted", "sum"):
            raise ParameterError(
                "got score and output or target: score is a function of all outputs; leave the others out"
            )
        if callable(score := options["score"]):
            options["score"] = f"{score.__module__}:{getattr(score, '__qualname__', type(score).__name__)}"
        else:
            load_score(score)
        chosen = Target("sum")
    custom_objects = [custom_objects] if isinstance(custom_objects, str) else custom_objects
    check_custom_objects(custom_objects)
    slice_features = check_slice_features(slice_features)
    if (
        only is not None
        and ExampleCondition(only, labels, slice_features).needs_classes
        and options.get("score") is not None
    ):
        raise ParameterError(
            f"only {only}: a score function has no classes; expected a condition on label, score, id or a slice feature"
        )
    _check_devices(options.get("gpus"), options.get("processes_per_gpu", 1), options.get("gpu_memory"))
    return Request(
        model=str(model),
        methods=tuple(check_methods(methods).items()),
        target=chosen,
        measures=tuple(check_measures(measures).items()),
        labels=None if labels is None else tuple(labels),
        vocabulary=None if vocabulary is None else tuple(vocabulary),
        inputs=None if inputs is None else (inputs,) if isinstance(inputs, str) else tuple(inputs),
        custom_objects=tuple(custom_objects),
        only=only,
        slice_features=slice_features,
        precision=read_precision(precision, mixed_precision),
        **options,
    )


def _check_devices(gpus: int | None, processes_per_gpu: int, gpu_memory: float | None) -> None:
    if processes_per_gpu < 1:
        raise ParameterError(f"processes_per_gpu={processes_per_gpu}: expected at least 1")
    if gpu_memory is not None and not gpu_memory >= LEAST_GPU_MEMORY:
        raise ParameterError(f"gpu_memory={gpu_memory:g}: expected at least {LEAST_GPU_MEMORY} (gigabytes)")
    if gpus == 0 and gpu_memory is not None:
        raise ParameterError(f"gpu_memory={gpu_memory:g}: gpus=0 explains on the CPU; leave one of them out")
    if gpus == 0 and processes_per_gpu > 1:
        raise ParameterError(
            f"processes_per_gpu={processes_per_gpu}: gpus=0 explains on the CPU; leave one of them out"
        )


def select_explained(
    graph: ModelGraph, output: str | None, score: Callable[..., Any] | str | None, logits: bool | None
) -> ModelGraph:
    """The model with its output, or with the score function in its graph, as a Request names them."""
    if score is not None:
        return graph.with_score(load_score(score) if isinstance(score, str) else score, bool(logits))
    return graph if output is None else graph.with_output(output)


def load_score(name: str) -> Any:
    """The score function `module:function`; ParameterError if there is none."""
    return load_function(name, "score", "the model's outputs")


def identify_score(request: Request) -> str | None:
    """The score function of a request, with a digest of its module's file: a store depends on both."""
    if request.score is None:
        return None
    load_score(request.score)
    return identify_function(request.score)
