"""AttributionCallback: how the maps of some examples change while a Keras model learns."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tb_deepexplain._version import __version__
from tb_deepexplain.attribution.methods import check_methods, find_method
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.graph.model_graph import ModelGraph
from tb_deepexplain.recording.batch_explainer import BatchExplainer, Request
from tb_deepexplain.recording.error_text import describe
from tb_deepexplain.recording.example import alike
from tb_deepexplain.recording.manifest import describe_methods, describe_store, listed
from tb_deepexplain.recording.targets import Target
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.storage import to_path
from tb_deepexplain.store.marker import check_store_name
from tb_deepexplain.store.records import Input
from tb_deepexplain.store.training_store import TrainingStore, training_configuration
from tb_deepexplain.training.watched_model import architecture_of, as_examples, digest, graph_of, take


class AttributionCallback(keras.callbacks.Callback):
    """Explains the same examples again and again during `fit`, into a store that TensorBoard shows as it grows.

    `logdir`: that of keras.callbacks.TensorBoard; `run` is a directory in it beside `train` and `validation`, and of its own:
    TensorBoard may cease to read scalars in a directory to which a second writer adds. `name` is that of the store.
    `examples`: an array, list or dict of arrays `[N, ...]` as `fit` takes them, or a tf.data.Dataset of batches, of which the
    first `max_examples` are taken (do not shuffle it: a training that goes on must explain the same). `labels`: `[N]` class
    numbers; from a dataset if its targets are such numbers. `ids`: `[N]` names, otherwise 0, 1, ... `class_names`: one for
    each class. `vocabulary`: one word for each token id.

    `methods`: ids, or a dict of ids and their parameters; `baseline` for those that take one and have none of their own.
    `target`: "predicted" (whatever the model then says), "label", "top:K", a class number, or "sum".

    `every`: epochs 0, every, 2·every, ... and the last, explained at their end; the step is the number of the epoch, from 0,
    as in TensorBoard's epoch scalars. `every_steps` counts batches instead, from 1 on: the step is how many the model was
    trained on, those of earlier trainings by the same optimizer among them. Put it behind EarlyStopping among the callbacks:
    it then knows the last epoch.

    A training that goes on (`initial_epoch`, or an optimizer that was restored) adds to its store. Steps that are there
    already are refused before the first batch, unless `overwrite` says that those from the first on go: then a training that
    begins anew replaces the store.

    Whatever is wrong with the configuration is raised before the first batch: InputError, ParameterError,
    UnknownMethodError, UnsupportedModelError, StoreError. What fails later costs the maps of that step or example and
    is a UserWarning, the first time; training goes on. Every `fit` traces the methods once, whatever the number of steps.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        examples: Any,
        methods: Selection,
        *,
        every: int | None = None,
        every_steps: int | None = None,
        target: str | int = "predicted",
        labels: Sequence[int] | np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        vocabulary: Sequence[str] | None = None,
        ids: Sequence[Any] | None = None,
        baseline: Any = None,
        run: str = "attributions",
        name: str = "default",
        batch_size: int | None = None,
        max_examples: int = 64,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        if every is not None and every_steps is not None:
            raise ParameterError("both every (epochs) and every_steps (batches) were given; give one of them")
        for option, number in (("every", every), ("every_steps", every_steps), ("max_examples", max_examples)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ParameterError(f"{option}={number!r}: expected a whole number of at least 1")
        check_store_name(name)
        self._every, self._every_steps = every or 1, every_steps
        self.async_safe = every_steps is None  # of batches, Keras then need not wait for us
        self._methods = _with_baseline(check_methods(methods), baseline)
        self._target = Target.parse(str(target))
        self._class_names = None if class_names is None else tuple(class_names)
        self._vocabulary = None if vocabulary is None else tuple(vocabulary)
        to_path(logdir)  # ParameterError for a to_path that nothing here can write to
        self._place, self._batch_size, self._overwrite = (logdir, run, name), batch_size, overwrite
        self._xs, found = take(examples, max_examples)
        self._labels, self._ids, self._most = found if labels is None else labels, ids, max_examples
        self._explainer: BatchExplainer | None = None

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Load the model, and explain one example by every method: what is wrong is raised here."""
        graph = graph_of(self.model, self._xs)
        self._examples = as_examples(graph, self._xs, self._labels, self._ids, self._most)
        request = Request(
            model=graph.source,
            methods=tuple(self._methods.items()),
            target=self._target,
            labels=self._class_names,
            vocabulary=self._vocabulary,
            batch_size=self._batch_size,
            mixed_precision=self.model.compute_dtype != self.model.variable_dtype,
        )
        self._explainer = BatchExplainer(request, graph)
        self._explainer.attempt(self._examples[:1])
        for members in alike(self._examples):
            self._explainer.asked([self._examples[i] for i in members])  # of labels that are no classes
        self._inputs: list[Input] = self._explainer.show(self._examples)
        self._store, self._warned = self._new_store(request, graph), False
        self._batches = _batches_before(self.model)
        self._opened = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Where the first epoch of a training is known: make room for its steps."""
        if not self._opened:
            first = epoch if self._every_steps is None else self._batches + 1
            self._store.open(first, self._inputs, self._overwrite)
            self._opened = True
        self._before = self._batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self._every_steps is None:
            return
        behind, self._batches = self._batches, self._before + batch + 1  # Keras may do several at once
        if self._batches // self._every_steps > behind // self._every_steps:
            self._explain(self._batches)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        planned = (self.params or {}).get("epochs")  # a loop of one's own may have set none
        last = self.model.stop_training or epoch + 1 == planned
        if self._every_steps is None and (last or epoch % self._every == 0):
            self._explain(epoch)
        elif last and self._every_steps is not None and self._batches not in self._store.steps[-1:]:
            self._explain(self._batches)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        try:
            self._store.finish()
        except Exception as error:
            self._warn(f"the store of attributions is not marked complete: {': '.join(describe(error))}")

    def _explain(self, step: int) -> None:
        assert self._explainer is not None
        try:
            self._explainer.at(step)
            found = self._explainer.explain(self._examples)
            self._store.add(step, found.attributions, found.errors)
        except Exception as error:  # of a disk, say; hours of training are not to be lost for it
            self._warn(f"no attributions of step {step}: {': '.join(describe(error))}")
            return
        if found.errors:
            why, of = found.errors[0], f"{len(found.errors)} of {len(self._examples)} examples"
            self._warn(f"{of} could not be explained at step {step}: {why.error}: {why.message}")

    def _warn(self, text: str) -> None:
        """Once in a training: what fails at one step is likely to fail at all."""
        if not self._warned:
            self._warned = True
            warnings.warn(f"{text}. Training goes on; there are no more warnings of this kind", stacklevel=2)

    def _new_store(self, request: Request, graph: ModelGraph) -> TrainingStore:
        assert self._explainer is not None
        modality, inputs, name = self._explainer.modality, self._explainer.inputs, str(self._place[2])
        counted = "epoch" if self._every_steps is None else "batch"
        options = {"every": self._every_steps or self._every, "counted": counted, "batch_size": self._batch_size}
        architecture = architecture_of(self.model, graph)
        configuration = training_configuration(
            counted,
            version=__version__,
            model=architecture,
            examples=digest(self._examples),
            methods={m["id"]: m["parameters"] for m in describe_methods(request)},
            target=str(request.target),
            labels=listed(request.labels),
            vocab=listed(request.vocabulary),
        )
        return TrainingStore(
            *self._place, configuration, lambda: describe_store(request, modality, inputs, architecture, name, options)
        )


def _with_baseline(methods: dict[str, dict[str, Any]], baseline: Any) -> dict[str, dict[str, Any]]:
    if baseline is None:
        return methods
    rows = {name: find_method(name) for name in methods}
    if not any(row.baseline_parameter for row in rows.values()):
        raise ParameterError(f"baseline: none of {', '.join(methods)} takes one; leave it out")
    return {name: row.check(row.with_baseline(methods[name], baseline)) for name, row in rows.items()}


def _batches_before(model: Any) -> int:
    """On how many batches the model's optimizer has trained."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    return int(optimizer.iterations.numpy()) * (getattr(optimizer, "gradient_accumulation_steps", None) or 1)


__all__ = ["AttributionCallback"]
