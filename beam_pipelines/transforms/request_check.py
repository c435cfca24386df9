"""Checks a request and how elements are read against the model, before any element: what is refused then is one sentence, and not
the error of every element."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from apache_beam import Pipeline
from apache_beam.options.pipeline_options import DirectOptions, PortableOptions

from beam_pipelines.engine.device_pool import DevicePool, explainer_pool, prepare_devices
from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.feature_values import to_input
from beam_pipelines.reading.record_spec import RecordSpec
from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.request import Request
from tb_deepexplain.storage import to_path

_LOGGER = logging.getLogger(__name__)
_MOST_EVALUATIONS = 5000  # for a blank example: a method that takes longer is left to the elements
_ANY_SIZE = 32  # of a blank example, where the model leaves it open
_RUNNERS_OF_THIS_PROCESS = (
    "FnApiRunner",
    "DirectRunner",
    "SwitchingDirectRunner",
    "BundleBasedDirectRunner",
    "PrismRunner",
)


def checked_pool(
    request: Request, record_spec: RecordSpec, columns: Sequence[str] | None = None
) -> DevicePool[BatchExplainer]:
    """The explainers of this process. ParameterError or UnsupportedModelError if the model cannot be loaded, if its inputs, outputs or
    classes are others than the request names, or if a method cannot explain it. InputError if elements with these `columns`, where
    they are known, do not fit the model."""
    pool = explainer_pool(request)
    with pool.least_busy() as explainer:
        _check(explainer, record_spec, columns)
    return pool


def is_readable(request: Request) -> bool:
    """Whether the model can be read here; workers may see files that this process does not."""
    try:
        return all(to_path(path).exists() for path in (request.model, request.transform_graph) if path)
    except Exception:  # of any file system: no credentials, no network, a package that is not installed
        return False


@contextlib.contextmanager
def left_to_workers() -> Iterator[None]:
    """Suppress an error that says that this machine, unlike the workers perhaps, has not the packages that the model needs."""
    try:
        yield
    except UnsupportedModelError as error:
        if not isinstance(error.__cause__, ImportError) and "not registered" not in str(error):
            raise


def explains_here(pipeline: Pipeline) -> bool:
    """Whether the pipeline's steps run in this process."""
    options, runner = pipeline.options, pipeline.runner
    environment_type = options.view_as(PortableOptions).environment_type
    environment = getattr(runner, "_default_environment", None)
    return environment_type == "LOOPBACK" or (
        environment_type is None
        and type(runner).__name__ in _RUNNERS_OF_THIS_PROCESS
        and options.view_as(DirectOptions).direct_running_mode != "multi_processing"
        and (environment is None or type(environment).__name__ == "EmbeddedPythonEnvironment")
    )


def check_on_cpu(request: Request, record_spec: RecordSpec, columns: Sequence[str] | None) -> None:
    """As `checked_pool`, but leaves the GPUs of this machine to worker processes and keeps nothing in memory."""
    request = request.on_cpu()
    with contextlib.suppress(ParameterError):  # this process uses GPUs already
        prepare_devices(request)
    with tf.device("/device:CPU:0"):
        _check(BatchExplainer(request), record_spec, columns)


def _check(explainer: BatchExplainer, record_spec: RecordSpec, columns: Sequence[str] | None) -> None:
    """Raises as `checked_pool`. A model may fail for a blank example alone: all other errors are left to the elements."""
    parser = ExampleParser(explainer.graph.inputs, record_spec)
    if columns is not None:
        parser.check_columns(columns)
    has_known_sizes = all(None not in spec.shape[1:] and not spec.any_size for spec in explainer.graph.inputs)
    try:
        example = Example("blank", {spec.name: _blank(spec) for spec in explainer.graph.inputs}, 0)
        if has_known_sizes or explainer.request.target.rule != "position":
            explainer.classes(example)
        if has_known_sizes and _evaluations(explainer, example) <= _MOST_EVALUATIONS:
            explainer.attempt([example])
    except ParameterError:
        raise
    except UnsupportedModelError:
        if has_known_sizes:
            raise
    except Exception as error:
        _LOGGER.debug("the model fails for a blank example: %s", error)
    finally:
        for one in explainer.explainers:
            one.submodel.graph.verdicts.clear()  # whether graph and model agree is to be judged by real examples,
            one.forget_sample(errors=True)  # and how far maps of another precision differ


def _evaluations(explainer: BatchExplainer, example: Example) -> int:
    """The number of evaluations of the model to explain the example."""
    inputs = explainer.stack([example])
    return sum(one.cost(inputs) for one in explainer.explainers)


def _blank(spec: Any) -> np.ndarray:
    if spec.default is not None:
        return to_input(spec.default, spec)
    shape = [_ANY_SIZE if size is None else size for size in spec.shape[1:]]
    if spec.dtype == "string":
        return np.full(shape, b"a", object)
    return np.zeros(shape, np.float32 if spec.dtype == "bfloat16" else spec.dtype)
