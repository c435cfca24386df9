"""AttributionCallback: how the maps of some examples change while a Keras model trains."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, TypeAlias, get_args

import keras

from tb_deepexplain._version import __version__
from tb_deepexplain.attribution.inputs import Inputs
from tb_deepexplain.attribution.labels import labels_of_output
from tb_deepexplain.attribution.methods import check_methods, find_method
from tb_deepexplain.attribution.precision import Precision
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.errors import InputError, ParameterError, StoreError
from tb_deepexplain.recording.batch_explainer import BatchExplainer
from tb_deepexplain.recording.example import Example, batch_positions
from tb_deepexplain.recording.manifest import as_list, describe_measures, describe_methods, describe_store
from tb_deepexplain.recording.request import identify_score, make_request
from tb_deepexplain.registry.table import Selection
from tb_deepexplain.storage import to_path
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.marker import check_store_name
from tb_deepexplain.store.records import Attribution, Input
from tb_deepexplain.store.training_store import TrainingStore, training_configuration
from tb_deepexplain.training.keras_model import (
    digest_architecture,
    digest_weights,
    identify_callable,
    load_trained_model,
    trained_batches,
)
from tb_deepexplain.training.other_callbacks import restores_weights_after
from tb_deepexplain.training.training_examples import (
    digest_examples,
    label_examples,
    make_examples,
    read_examples,
)
from tb_deepexplain.user_warnings import warn

RESTORED_WEIGHTS = "these are the weights that the training kept, not those of its last step: earlier ones that were restored, or averages"
_IfExists: TypeAlias = Literal["refuse", "overwrite", "new run"]
_RUNS_OF_KERAS = ("train", "validation")
_OTHER_NAMES = {"log_dir": "logdir=", "overwrite": "if_exists='overwrite'"}


class AttributionCallback(keras.callbacks.Callback):
    """Explains the same examples every few epochs or batches of `fit`, into a store that TensorBoard shows while it grows.

    `logdir`: the log directory of keras.callbacks.TensorBoard. `run`: a directory in it, next to `train` and `validation`; it must
    not be one of these, because TensorBoard may stop reading scalars from a directory with a second writer. `name`: of the store.

    `examples`: an array, list or dict of arrays `[N, ...]` as `fit` takes them, a pair (x, y), a frame, or a dataset, whose first
    `max_examples` are used (do not shuffle it: a continued training must explain the same examples). `labels`: class numbers
    (also 0., 1., or `[N, 1]`), one-hot rows, names among `class_names`, several classes for each example, or the quantities of a
    regression; by default the y beside the examples, in a dict that of `output`. `ids`: `[N]` names, by default 0, 1, ...
    `class_names`: one for each class. `vocabulary`: one word for each token id.

    `methods`: ids, or a dict of ids and parameters. `baseline`: for the methods that take one and have none among their parameters.
    `target`: "predicted" (by the model at that step), "label", "top:K", a class number, a position such as "2,5", or "sum".
    `inputs`: names of the inputs, layers or tensors that are explained; by default all inputs, of any kinds.
    `output`: of a model with several, by name; `logits=False` explains its probabilities. `score`: a function of the model's
    outputs (a tensor, or a dict by name) that returns `[N]`, or "module:function"; it stands in the place of target and output.
    `measures`: ids, or a dict of ids and parameters; they measure each map and a random one at every step, and remove
    `superpixels` superpixels of a picture instead of pixels.

    `every`: explain at the end of epochs 0, every, 2·every, ... and of the last; the step is the number of the epoch, from 0, as
    in TensorBoard's epoch scalars. `every_steps` counts batches from 1 instead; the step is the number of batches that the model
    was trained on, including earlier trainings by the same optimizer (Keras' batch scalars begin at 1 in every `fit`).

    If the training keeps other weights than those of its last step (EarlyStopping with restore_best_weights, averages of the
    optimizer), one more step shows them. Place the callback after EarlyStopping, which restores weights when its turn comes.

    A continued training (`initial_epoch`, or a restored optimizer) adds to its store. `if_exists` says what happens if the store
    already has the first step or later ones, or explains something else: "refuse" (before the first batch), "overwrite" (replace
    these steps), or "new run" (write into `run`-2, `run`-3, ...; the attribute `run` then tells which).

    `precision`: that of matrix products and convolutions, as in `Explainer`; by default float32 without TF32, in which Keras may train. The
    manifest names half precision, too, where it is the model's own (Keras' mixed policies).

    Errors in the configuration are raised before the first batch: InputError, ParameterError, UnknownMethodError,
    UnsupportedModelError, StoreError. A later failure costs the maps of its step or example, with a UserWarning the first time;
    the training continues. Every `fit` traces the methods once, however many steps there are.
    """

    def __new__(cls, *_: Any, **arguments: Any) -> AttributionCallback:
        """ParameterError for an argument that other callbacks have under another name."""
        for name, right in _OTHER_NAMES.items():
            if name in arguments:
                raise ParameterError(f"got {name}=; write {right}")
        return super().__new__(cls)

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        examples: Any,
        methods: Selection,
        *,
        every: int | None = None,
        every_steps: int | None = None,
        target: str | int = "predicted",
        labels: Any = None,
        class_names: Sequence[str] | None = None,
        vocabulary: Sequence[str] | None = None,
        ids: Sequence[Any] | None = None,
        baseline: Any = None,
        run: str = "attributions",
        name: str = "default",
        batch_size: int | None = None,
        max_examples: int = 64,
        inputs: str | Sequence[str] | None = None,
        output: str | None = None,
        logits: bool | None = None,
        score: Callable[[Any], Any] | str | None = None,
        measures: Selection = (),
        superpixels: int | None = None,
        if_exists: _IfExists = "refuse",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if if_exists not in get_args(_IfExists):
            raise ParameterError(
                f"if_exists={if_exists!r}: expected one of {', '.join(map(repr, get_args(_IfExists)))}"
            )
        if every is not None and every_steps is not None:
            raise ParameterError("got both every (epochs) and every_steps (batches); give one of them")
        for option, number in (("every", every), ("every_steps", every_steps), ("max_examples", max_examples)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ParameterError(f"{option}={number!r}: expected a whole number of at least 1")
        check_store_name(name, "name")
        if run in _RUNS_OF_KERAS:
            raise ParameterError(
                f"run={run!r} is where keras.callbacks.TensorBoard writes its scalars, which TensorBoard may stop reading if a second "
                "writer joins; give another run, such as 'attributions'"
            )
        to_path(logdir)  # ParameterError for a scheme that cannot be written
        self._every, self._every_steps = every or 1, every_steps
        self.async_safe = every_steps is None  # Keras need not wait for the callback after every batch
        self._request = make_request(
            "",  # the model is known when the training begins
            _with_baseline(check_methods(methods), baseline),
            target=target,
            labels=class_names,
            vocabulary=vocabulary,
            batch_size=batch_size,
            inputs=inputs,
            output=output,
            logits=logits,
            score=score,
            measures=measures,
            superpixels=superpixels,
            precision=precision,
        )
        self._logdir, self.run, self._name, self._if_exists = logdir, run, name, if_exists
        self._examples_argument, self._labels = examples, labels
        self._taken: Inputs | None = None
        self._ids, self._max_examples, self._score = ids, max_examples, score
        self._explainer: BatchExplainer | None = None

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Load the model and explain one example by every method, so that errors are raised now."""
        graph = load_trained_model(self.model, self._examples_argument)
        if self._taken is None:  # a generator cannot be read again in a second `fit`
            self._taken = read_examples(graph, self._examples_argument, self._max_examples)
            self._taken.warn()
        request = dataclasses.replace(self._request, model=graph.source)
        self._explainer = BatchExplainer(request, graph, self._score if callable(self._score) else None)
        if self._explainer.is_without_tf32:
            warn("precision='tf32' changes nothing on a CPU: the maps are in float32")
        self._examples = self._labelled(make_examples(self._taken, self._ids), self._taken.labels, graph.outputs)
        self._explainer.attempt(self._examples[:1])
        for positions in batch_positions(self._examples):
            # Refuses labels that are no classes.
            self._explainer.map_targets([self._examples[i] for i in positions])
        self._inputs: list[Input] = self._explainer.stored_inputs(self._examples)
        self._trained_request, self._architecture = request, digest_architecture(self.model, graph)
        self._store: TrainingStore | None = None
        self._batches = trained_batches(self.model)
        self._last_step: int | None = None  # of the training, explained or not
        self._attempted_step: int | None = None
        self._warned = False
        if restores_weights_after(self):
            warn(
                "AttributionCallback stands before EarlyStopping, which restores the best weights at the end: no step will "
                "show them; put AttributionCallback after EarlyStopping"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Open the store in the first epoch of a training: only now its first step is known."""
        if self._store is None:
            self._store = self._open_store(epoch if self._every_steps is None else self._batches + 1)
        self._batches_before_epoch = self._batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self._every_steps is None:
            return
        # Keras may train several batches at once.
        previous, self._batches = self._batches, self._batches_before_epoch + batch + 1
        if self._batches // self._every_steps > previous // self._every_steps:
            self._explain(self._batches)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        epochs = (self.params or {}).get("epochs")  # missing in a training loop that sets no parameters
        is_last = self.model.stop_training or epoch + 1 == epochs
        self._last_step = epoch if self._every_steps is None else self._batches
        self._last_weights = digest_weights(self.model)
        if is_last or (self._every_steps is None and epoch % self._every == 0):
            self._explain_once(self._last_step)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """Explain the last epoch, if a later callback stopped the training in it, or the weights that are kept instead of its own."""
        if self._store is None:
            return
        if self._last_step is not None:
            if digest_weights(self.model) == self._last_weights:
                self._explain_once(self._last_step)
            else:
                self._explain(self._last_step + 1, restored=True)
        try:
            self._store.finish()
        except Exception as error:
            self._warn(f"the store of attributions is not marked complete: {': '.join(describe_failure(error))}")

    def _explain_once(self, step: int) -> None:
        if step != self._attempted_step:
            self._explain(step)

    def _explain(self, step: int, restored: bool = False) -> None:
        assert self._explainer is not None and self._store is not None
        self._attempted_step = step
        try:
            self._explainer.set_step(step)
            records = self._explainer.explain(self._examples)
            maps: Sequence[Attribution] = records.attributions
            if restored:
                maps = [dataclasses.replace(row, warnings=[*row.warnings, RESTORED_WEIGHTS]) for row in maps]
            self._store.add(step, maps, records.errors, restored)
        except Exception as error:  # such as a full disk; hours of training must not be lost for it
            self._warn(f"no attributions of step {step}: {': '.join(describe_failure(error))}")
            return
        if records.errors:
            first, counts = records.errors[0], f"{len(records.errors)} of {len(self._examples)} examples"
            self._warn(f"{counts} could not be explained at step {step}: {first.error}: {first.message}")

    def _warn(self, text: str) -> None:
        """Warn once in a training: a failure of one step is likely to repeat."""
        if not self._warned:
            self._warned = True
            warn(f"{text}. Training goes on; further failures do not warn")

    def _labelled(self, examples: list[Example], labels_beside: Any, outputs: Collection[str]) -> list[Example]:
        """The examples with `labels`, or with those that came beside them, where these are labels; `outputs` are the model's."""
        assert self._explainer is not None
        # classes() also refuses class names that do not fit.
        classes, request = self._explainer.classes(examples[0]), self._explainer.request
        arguments = (classes, request.labels, request.score is not None)
        if self._labels is not None:
            return label_examples(examples, self._labels, *arguments)
        if labels_beside is None:
            return examples
        try:
            return label_examples(examples, labels_of_output(labels_beside, request.output, outputs), *arguments)
        except InputError as error:
            if request.target.rule == "label":
                raise
            warn(f"the targets beside the examples are not stored as labels: {error}")
            return examples

    def _open_store(self, first_step: int) -> TrainingStore:
        """The store, prepared for steps from `first_step` on."""
        if self._if_exists != "new run":
            return self._try_to_open(self.run, first_step)
        runs = (self.run if n == 1 else f"{self.run}-{n}" for n in itertools.count(1))
        existing = list(itertools.takewhile(lambda run: store_path(self._logdir, run, self._name).exists(), runs))
        if existing:  # the last may be continued
            with contextlib.suppress(StoreError):
                store = self._try_to_open(existing[-1], first_step)
                self.run = existing[-1]
                return store
            self.run = f"{self.run}-{len(existing) + 1}"
        return self._try_to_open(self.run, first_step)

    def _try_to_open(self, run: str, first_step: int) -> TrainingStore:
        store = self._make_store(run)
        store.open(first_step, self._inputs, overwrite=self._if_exists == "overwrite")
        return store

    def _make_store(self, run: str) -> TrainingStore:
        assert self._explainer is not None
        request, modality, inputs = self._trained_request, self._explainer.modality, self._explainer.inputs
        architecture, step_unit = self._architecture, "epoch" if self._every_steps is None else "batch"
        options = {
            "every": self._every_steps or self._every,
            "counted": step_unit,
            "batch_size": request.batch_size,
        }
        measures = {m["id"]: m["parameters"] for m in describe_measures(request)}
        configuration = training_configuration(
            step_unit,
            version=__version__,
            model=architecture,
            examples=digest_examples(self._examples),
            methods={m["id"]: m["parameters"] for m in describe_methods(request)},
            target=str(request.target),
            labels=as_list(request.labels),
            vocab=as_list(request.vocabulary),
            inputs=as_list(request.inputs),
            output=request.output,
            measures=measures or None,
            superpixels=request.superpixels,
            score=identify_callable(self._score) if callable(self._score) else identify_score(request),
            logits=request.logits,
            precision=request.precision,
        )
        if self._explainer.is_without_tf32:
            request = dataclasses.replace(request, precision="float32")
        is_half = self.model.compute_dtype != self.model.variable_dtype  # of itself, by Keras' policy
        if is_half and request.precision == "float32":
            request = dataclasses.replace(request, precision="mixed")
        errors = self._explainer.precision_errors
        return TrainingStore(
            self._logdir,
            run,
            self._name,
            configuration,
            lambda: describe_store(request, modality, inputs, architecture, self._name, options, errors()),
            list(measures),
        )


def _with_baseline(methods: dict[str, dict[str, Any]], baseline: Any) -> dict[str, dict[str, Any]]:
    """The methods with this baseline, where they take one and have none."""
    if baseline is None:
        return methods
    rows = {name: find_method(name) for name in methods}
    if not any(row.baseline_parameter for row in rows.values()):
        raise ParameterError(f"baseline: none of {', '.join(methods)} takes one; leave it out")
    return {name: row.with_baseline(methods[name], baseline) for name, row in rows.items()}


__all__ = ["AttributionCallback"]
