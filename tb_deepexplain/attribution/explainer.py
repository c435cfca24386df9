"""Explainer: binds a method to a model, and computes attributions in batches."""

from __future__ import annotations

import collections
import copy
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution import compiled_method
from tb_deepexplain.attribution.argument_order import order_arguments
from tb_deepexplain.attribution.array_likes import column_names, has_axes
from tb_deepexplain.attribution.baselines import UNREADABLE, Baselines, by_input
from tb_deepexplain.attribution.batch_sizes import BatchLog, BatchSizes, RunSizes, check_batch_size
from tb_deepexplain.attribution.batching import RowQueue, join_batches, show_progress, take_rows
from tb_deepexplain.attribution.compiled_method import (
    CompiledMethod,
    Encode,
    EncodedMaps,
    MethodOutput,
    Shapes,
    compile_method,
)
from tb_deepexplain.attribution.containers import read_baseline
from tb_deepexplain.attribution.diagnostics import Diagnostics
from tb_deepexplain.attribution.digest import digest
from tb_deepexplain.attribution.examples import Batch, Examples, compute_entries, make_batch
from tb_deepexplain.attribution.inputs import Inputs, check_unpacked, unpack_examples
from tb_deepexplain.attribution.methods import find_method
from tb_deepexplain.attribution.model_check import EXAMPLES, Verdict, check_submodel
from tb_deepexplain.attribution.open_sizes import shape_choices
from tb_deepexplain.attribution.precision import (
    MAY_BE_TF32,
    Precision,
    check_mixed,
    check_tf32,
    computes_on_gpu,
    computing_in,
    in_its_precision,
    may_have_computed_in_tf32,
    read_precision,
)
from tb_deepexplain.attribution.precision_error import REFERENCE_BATCH, SAMPLE, PrecisionError, PrecisionSample
from tb_deepexplain.attribution.results import Predictions, Result, completeness_gap, sum_tokens
from tb_deepexplain.attribution.score import ROUNDING, select
from tb_deepexplain.attribution.targets import (
    DEFAULT,
    Explained,
    check_class_names,
    check_target,
    check_ys,
    explain_classes,
    predict_target,
    read_target,
)
from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.graph.entries import Access
from tb_deepexplain.graph.graph_view import list_names
from tb_deepexplain.graph.loading.load_model import load_model
from tb_deepexplain.graph.logits import final_activation_node
from tb_deepexplain.graph.model_graph import GRAPHS_AT_SIZES, ModelGraph
from tb_deepexplain.graph.origin import ExampleShapes
from tb_deepexplain.graph.score_function import ScoreFunction
from tb_deepexplain.graph.submodel import Submodel
from tb_deepexplain.registry.table import Row
from tb_deepexplain.user_warnings import warn

# Cached properties of an explainer that belong to its graph.
_OF_GRAPH = ("removal", "_resolved_parameters", "_parameters_digest", "_compute_output", "_in_float32")


class Explainer:
    """One method bound to one model; compiled once for all sizes that the model leaves open, and whatever the batch size.

    `target`: "predicted" (the class with the largest output, the default for an output of several classes; the default of
    a single unit is its value), a class number or one of `class_names`, `[N]` of them, a position in the output as a tuple
    such as `(time, class)`, `[N, axes]` of them, or None (the sum of all units). A single sigmoid has the classes 1 and 0,
    whose score is the negative of that of class 1. Where the model's output has axes before that of the classes, a class is
    summed over the positions where the model predicts it (over all if there are none), and "predicted" is the class for which
    this sum is the largest.
    `inputs`: None (the model's inputs, or their embedding if they are integers or strings), "embedding", or
    names of inputs, layers or tensors. `output`: None (the only output), or the name of an output, layer or tensor. Of
    an output of the model, the logits before a final softmax or sigmoid are explained; with `logits=False`, and for
    `output="output"`, which means the only output, the probabilities; with `logits=True` the logits before any tensor.
    `score`: a function of the model's outputs (a tensor `[N, ...]`, or a dict of them by name if there are several) that
    returns the number `[N]` to explain, in TensorFlow; with `logits=True` it gets the logits in place of probabilities.
    `background` are examples like `xs`: their most frequent value of each feature is the baseline, or the statistic that
    the parameter `baseline` names. `vocabulary` are the words of the token ids, for baselines by name.
    `jit` compiles the model's evaluations with XLA; None: where that is measured to be faster on a GPU, and never on a CPU, where
    convolutions are slower.
    `check_model`: the first examples of each shape are also given to the model as its owner calls it; where the graph has
    another output, the model is traced for this shape, and refused (UnsupportedModelError) if the outputs still differ.
    `check_batch`: a warning where the output for an example depends on the other examples of its batch.
    `precision`: that of matrix products and convolutions: "float32" (exact, without TF32, whatever the process has set), "tf32" (GPUs
    only), "mixed" (float16 on GPUs, bfloat16 on CPUs) or "float64". A model of float64 or half computes as it is in "float32", too. With
    another choice, the first examples are also explained in float32, and results carry the difference (`precision_error`).
    """

    def __init__(
        self,
        method: str,
        model: Any = None,
        *,
        target: Any = DEFAULT,
        inputs: str | Sequence[str] | None = None,
        output: str | None = None,
        logits: bool | None = None,
        score: ScoreFunction | None = None,
        class_names: Sequence[str] | None = None,
        jit: bool | None = None,
        background: Any = None,
        vocabulary: Sequence[str] | None = None,
        check_model: bool = True,
        check_batch: bool = True,
        precision: Precision = "float32",
        **params: Any,
    ) -> None:
        method, model = order_arguments("Explainer(method, model)", method, model)
        self.method = find_method(method)
        self.parameters = self.method.check(params)  # before the model is loaded, which may take a while
        _check_switches(
            check_model=check_model,
            check_batch=check_batch,
            **{name: value for name, value in (("jit", jit), ("logits", logits)) if value is not None},
        )
        self.precision = read_precision(precision)
        if jit and self.precision == "mixed":
            raise ParameterError(
                "got jit and precision='mixed': XLA computes in float32 all the same; leave one of them out"
            )
        graph = load_model(model)
        if self.precision == "float64":
            graph = graph.in_float64()
        if self.precision == "mixed":
            check_mixed()
        if self.precision == "tf32":
            check_tf32()
        self._is_exact = self.precision == "float32"
        if self.precision == "tf32" and not computes_on_gpu():
            self._is_exact = True
            warn("precision='tf32' changes nothing on a CPU: the maps are in float32")
        if score is not None and not (output is None and (target is None or target is DEFAULT)):
            raise ParameterError(
                "got score and output or target: score is a function of all outputs; leave the others out"
            )
        self._target, self._class_names, self._jit, self._score = target, class_names, jit, score
        self.batch_log = BatchLog()
        self._checks = {"check_model": check_model, "check_batch": check_batch}
        self._options: dict[str, Any] = {
            "target": target,
            "inputs": inputs,
            "output": output,
            "logits": logits,
            "score": score,
            "class_names": class_names,
            "jit": jit,
            **self._checks,
            "precision": self.precision,
        }
        self._sample = PrecisionSample()
        baseline = self.method.baseline(self.parameters)
        columns = column_names(baseline)
        self._columns = {"baseline": columns} if columns else {}  # of frames, which xs must have too
        self._bind(graph)
        by_input(read_baseline(self.graph.inputs, baseline), self.submodel.cut.names)
        self._baselines = Baselines(self._read_background(background), vocabulary)
        if class_names is not None:
            check_class_names(class_names, self.submodel.output_shape, self.submodel.explains_two_classes)
        if self.submodel.explains_softmax and logits is None and score is None:
            warn(
                "the explained output is a softmax: its probabilities share one sum and saturate, so that evidence for one "
                "class shows as evidence against others; logits=True explains the logits before it, and logits=False explains "
                "the softmax without this warning"
            )

    def _bind(self, graph: ModelGraph) -> None:
        """Explain this graph."""
        self.graph = graph
        self._scored_graph = (
            graph if self._score is None else graph.with_score(self._score, bool(self._options["logits"]))
        )
        access: Access = "replacement" if self.method.family == "perturbation" else "gradient"
        self.submodel = self._submodel(access, self._options["inputs"])
        jit = False if self.precision == "mixed" else self._jit
        self.batch_sizes = BatchSizes(
            self.submodel, self.method, self.parameters, self.precision, jit, log=self.batch_log
        )
        self._diagnostics = Diagnostics(self.submodel)
        ignored = self.submodel.ignored_custom_gradients(self.method.family)
        text = (
            f"custom gradients are ignored ({list_names(ignored)}): the derivative of the forward computation is used"
        )
        not_explained = [f"not explained: {reason}" for reason in self.submodel.cut.not_explained]
        self._warnings = [*([text] if ignored else []), *not_explained, *self.submodel.cut.notes, *graph.warnings]
        self._at_sizes: dict[ExampleShapes, Explainer] = {}  # for examples for which this graph does not hold

    def __repr__(self) -> str:
        return f"Explainer({self.method.id}, {self.graph})"

    @property
    def map_axes(self) -> tuple[int, ...] | None:
        """The axes of an example that its map has, the batch being axis 0; None: the method's default."""
        axes = self.parameters.get(self.method.map_axes_parameter or "")
        return None if axes is None else tuple(int(axis) for axis in np.ravel(axes))

    @property
    def explained(self) -> tuple[Any, ...]:
        """Model, inputs, output and precision: equal if the scores are the same function of the examples."""
        names = ("inputs", "output", "logits", "precision")
        return (self.graph.identity, *(self._options[name] for name in names), id(self._score))

    @property
    def precision_error(self) -> PrecisionError | None:
        """The difference to maps in float32 of the first examples that this explainer explained; None if that is its precision, or none
        was explained."""
        return self._sample.error if self._sample.error.examples else None

    def forget_sample(self, errors: bool = False) -> None:
        """Explain the next examples in float32, too, if that is not the precision: the weights of the model have changed. `errors`:
        forget those that were measured, too."""
        self._sample.examples, self._sample.rounding = 0, 0.0
        if errors:
            self._sample.error = PrecisionError()

    def for_model(self, model: Any) -> Explainer:
        """The same method with the same options on another model of this architecture."""
        return self._with_options(self.method.id, model, self.parameters)

    def for_method(self, method: str, parameters: Mapping[str, Any]) -> Explainer:
        """Another method with the same options on this model."""
        return self._with_options(method, self.graph, parameters)

    def _with_options(self, method: str, model: Any, parameters: Mapping[str, Any]) -> Explainer:
        other = Explainer(method, model, **self._options, **parameters)
        other._baselines = self._baselines  # a background that is a generator can be read only once
        other._columns |= {name: columns for name, columns in self._columns.items() if name == "background"}
        return other

    @cached_property
    def removal(self) -> Submodel:
        """The submodel at which measures remove features: where methods that replace values enter the model."""
        removal = self._submodel("replacement", self._options["inputs"])
        names = self.submodel.cut.names
        return removal if removal.cut.names == names else self._submodel("replacement", names)

    def _submodel(self, access: Access, inputs: str | Sequence[str] | None) -> Submodel:
        if self._score is None:
            return self.graph.submodel(inputs, self._options["output"], self._options["logits"], access)
        return self._scored_graph.submodel(inputs, None, False, access)

    def resolve_baseline(self, row: Row, parameters: Mapping[str, Any], submodel: Submodel) -> dict[str, Any]:
        """The parameters of a method or measure, with a baseline for each entry tensor of a submodel. Raises ParameterError."""
        if row.baseline_parameter is None:
            return dict(parameters)
        resolved = self._baselines.resolve(submodel, row.baseline(parameters))
        return {**parameters, row.baseline_parameter: resolved}

    @cached_property
    def _resolved_parameters(self) -> dict[str, Any]:
        return self.resolve_baseline(self.method, self.parameters, self.submodel)

    def _read_background(self, background: Any) -> list[np.ndarray] | None:
        """The model's inputs `[N, ...]` of the background, whose columns are those that `xs` must have."""
        if background is None:
            return None
        inputs = self.check(background)
        if inputs.are_entries or not inputs.n:
            raise InputError("background: expected at least one example of the model's inputs")
        if inputs.columns:
            self._columns["background"] = inputs.columns
        return inputs.arrays

    def check(self, xs: Any) -> Inputs:
        """`xs` as Inputs, which every explainer of this model takes without checking them again. Raises InputError.

        A dict of values of the entry tensors is accepted too, unless the model needs its other inputs as well.
        """
        names, specs = self.submodel.entry_names, self.graph.inputs
        if isinstance(xs, Inputs):
            if xs.specs != tuple(self.submodel.entry_specs if xs.are_entries else specs):
                raise InputError(
                    f"xs was checked for {'; '.join(map(str, xs.specs))}, but the model takes {'; '.join(map(str, specs))}"
                )
            self._check_columns(xs)
            return xs
        unpacked = unpack_examples(self.graph, xs)
        if not isinstance(unpacked.xs, dict) or set(unpacked.xs) != set(names) or set(names) == {s.name for s in specs}:
            inputs = check_unpacked(specs, unpacked, self.graph)
            self._check_columns(inputs)
            return inputs
        if self.submodel.cut.context:
            raise InputError(f"values of {', '.join(names)} are not enough: the model needs its other inputs too")
        return check_unpacked(self.submodel.entry_specs, unpacked, are_entries=True)

    def _check_columns(self, inputs: Inputs) -> None:
        """InputError unless a frame for a model with one input has the columns of the background and the baseline."""
        for name, expected in self._columns.items():
            if inputs.columns and inputs.columns != expected:
                raise InputError(
                    f"xs has the columns {', '.join(inputs.columns)}, and {name} {', '.join(expected)}: give both the same columns in the "
                    "order in which the model was trained"
                )

    def for_examples(self, inputs: Inputs, batch_size: int | None = None) -> Explainer:
        """The explainer whose graph holds for examples of these shapes: this one, or one with a graph traced for them.

        UnsupportedModelError if there is none. The graph is compared with the model once for each shape; see `check_model`.
        """
        if inputs.are_entries:  # the sizes of the inputs are unknown
            return self
        shapes = tuple(a.shape[1:] for a in inputs.arrays)
        verdict = self._judge(shapes, inputs, batch_size) if self.graph.fits(shapes) else None
        if verdict is not None and not verdict.fault:
            return self
        try:
            other = self._sized(shapes)
        except UnsupportedModelError as error:
            if verdict is None:
                raise InputError(f"xs has a shape that the model does not take: {error}") from error
            other = None
        if other is not None:
            verdict = other._judge(shapes, inputs, batch_size)  # noqa: SLF001
            if not verdict.fault:
                return other
        assert verdict is not None
        raise UnsupportedModelError(
            f"{self.graph.source}: the graph differs from the model as it is called: {verdict.fault}; its maps would explain "
            "another model. check_model=False explains the graph nevertheless"
        )

    def _judge(self, shapes: ExampleShapes, inputs: Inputs, batch_size: int | None = None) -> Verdict:
        """The verdict on this explainer's graph for examples of these shapes, which all explainers of the graph share."""
        key = (shapes, self.submodel.cut.model_output, *self._checks.values())
        if not any(self._checks.values()) or not inputs.n:
            return Verdict()
        graph = self.submodel.graph  # with the score function, if there is one
        if (known := graph.verdicts.get(key)) is not None:
            return known
        # In this order: a thread that waits for the precision must not hold what another needs to leave its own.
        with computing_in("float32"), graph.checking:
            if key not in graph.verdicts:
                size = EXAMPLES if batch_size is None else min(EXAMPLES, check_batch_size(batch_size))
                rows = self._queue(inputs).take(size)
                arrays = [take_rows(array, rows) for array in inputs.arrays]
                graph.verdicts[key] = check_submodel(self.submodel, arrays, **self._checks)
            verdict: Verdict = graph.verdicts[key]
            return verdict

    def _sized(self, shapes: ExampleShapes) -> Explainer | None:
        """The same explainer of the model traced for these shapes; None if the model cannot be traced for them."""
        if shapes not in self._at_sizes:
            graph = self.graph.at_sizes(shapes)
            if graph is None:
                return None
            while len(self._at_sizes) >= GRAPHS_AT_SIZES:
                self._at_sizes.pop(next(iter(self._at_sizes)))
            other = copy.copy(self)
            for name in _OF_GRAPH:
                vars(other).pop(name, None)
            other._bind(graph)  # noqa: SLF001
            self._at_sizes[shapes] = other
        return self._at_sizes[shapes]

    def cost(self, xs: Any) -> int:
        """Model evaluations, at most, for an example with the shapes of the first of `xs`; computes no map."""
        inputs = self.check(xs)
        if (other := self.for_examples(inputs, 1)) is not self:
            return other.cost(inputs)
        first = [tf.constant(array[:1]) for array in inputs.arrays]
        entries, _ = compute_entries(self.submodel, first, inputs.are_entries, 1)
        return self.method.cost_of(self.parameters, [tuple(e.shape[1:]) for e in entries], self.submodel.cut.whole)

    @in_its_precision
    def predict(self, xs: Any, *, batch_size: int | None = None) -> Predictions:
        """The model's outputs for `xs`; for a text model also its token ids."""
        inputs = self.check(xs)
        if inputs.are_entries:
            takes = "; ".join(map(str, self.graph.inputs))
            raise InputError(f"xs has values of inner tensors; predictions need the model's inputs: {takes}")
        if (other := self.for_examples(inputs, batch_size)) is not self:
            return other.predict(inputs, batch_size=batch_size)
        self.submodel.trace_prediction()  # which shows how large a batch may be
        sizes, queue = self.batch_sizes.of(inputs, batch_size), self._queue(inputs)
        batches, parts = list[np.ndarray](), list[list[np.ndarray]]()
        while queue:
            rows = queue.take(sizes.evaluations())
            try:
                outputs = self.submodel.predict([tf.constant(take_rows(array, rows)) for array in inputs.arrays])
                output, probabilities, ids = (t.numpy() for t in outputs)
            except tf.errors.ResourceExhaustedError as error:
                sizes.run_out(len(rows), len(rows), error)
                queue.put_back(rows)
                continue
            positions = np.full(len(output), output.shape[1] if output.ndim > 2 else 0)
            batches.append(rows)
            parts.append([output, probabilities, ids, np.full(len(ids), ids.shape[-1]), positions])
        output, probabilities, ids, lengths, positions = join_batches(parts, batches, inputs.n)
        cut = self.submodel.cut
        is_text = any(cut.explained_lookups)
        sum_of_two, label_threshold = self._sigmoids
        return Predictions(
            outputs=output,
            probabilities=probabilities if cut.explains_logits else None,
            token_ids=ids if is_text else None,
            lengths=lengths if is_text else None,
            sum_of_two=sum_of_two,
            output_lengths=positions if output.ndim > 2 and (positions < output.shape[1]).any() else None,
            label_threshold=label_threshold,
        )

    @property
    def _sigmoids(self) -> tuple[float | None, float | None]:
        """`sum_of_two` and `label_threshold` of Predictions."""
        submodel, explains_logits = self.submodel, self.submodel.cut.explains_logits
        if self._score is not None:
            return None, None
        return (
            (0.0 if explains_logits else 1.0) if submodel.explains_two_classes else None,
            (0.0 if explains_logits else 0.5) if submodel.explains_several_labels else None,
        )

    @in_its_precision
    def run(
        self,
        xs: Any,
        *,
        ys: Any = None,
        target: Any = DEFAULT,
        batch_size: int | None = None,
        seed: int = 0,
        progress: bool = False,
        return_result: bool = False,
        encode: Encode | None = None,
    ) -> Any:
        """Attributions of `xs`, in its structure: an array, or a list, tuple or dict of arrays for several inputs.

        `xs` may be Inputs that `check` returned, or a dict of values of the entry tensors. `ys` are weights of the output's
        units, `[N, ...output]`; `target` as in the class, by default that of the class; at most one of the two.
        `batch_size` bounds the evaluations computed at once and does not change the attributions; `seed` makes methods that
        sample repeatable. Returns the attributions, or a Result. Warnings are in the Result; without one they are
        UserWarnings. Raises InputError or ParameterError.

        `encode`, for a Result without tokens, is called on the device with the maps of each batch, and takes their place in the Result;
        not where they are also compared with float32, or are not of float32.
        """
        if seed is None:
            raise InputError("seed=None: expected a whole number")
        seeds = seed if self.method.sampled else None
        inputs = self.check(xs)
        if (other := self.for_examples(inputs, batch_size)) is not self:
            return other.run(
                inputs,
                ys=ys,
                target=target,
                batch_size=batch_size,
                seed=seed,
                progress=progress,
                return_result=return_result,
                encode=encode,
            )
        examples = self.prepare(inputs, ys=ys, target=target, batch_size=batch_size, seed=seeds)
        sizes, queue = self.batch_sizes.of(examples.inputs, batch_size), self._queue(examples.inputs)
        expected = self._explain_sample_in_float32(examples, sizes)
        encode = encode if expected is None else None
        batches, parts, texts, ranks = list[np.ndarray](), [], list[list[str]](), list[int]()
        with show_progress(examples.n, self.method.title if progress else None) as advance:
            while queue:
                left = queue.next_count
                size = sizes.evaluations(left)
                rows = queue.take(sizes.examples(size))
                try:
                    batch = self.batch(examples, rows)
                    output, batch_texts = self._explain_and_measure(batch, size, left, sizes, encode)
                except tf.errors.ResourceExhaustedError as error:
                    sizes.run_out(size, len(rows), error)
                    queue.put_back(rows)
                    continue
                ranks = [batch.entries[explained.entries[0]].shape.rank for explained in self.submodel.cut.explained]
                batches.append(rows)
                parts.append(output.arrays)
                texts += batch_texts
                advance(len(rows))
        *maps, score, baseline_score, evaluations = join_batches(parts, batches, examples.n)
        if expected is not None:
            # Of texts without the padding of later, longer ones.
            sample = [m[tuple(map(slice, e.shape))] for m, e in zip(maps, expected, strict=True)]
            scores = np.stack([score, baseline_score])[:, : len(expected[0])] if self.method.sums_to else None
            self._sample.error += PrecisionError.of(sample, expected, scores)
        texts = [texts[i] for i in np.argsort(np.concatenate(batches))][: examples.n]
        self._add_warnings(texts, examples, batch_size)
        dtype = np.float64 if maps[0].dtype == np.float64 else np.float32
        if isinstance(output.maps, EncodedMaps):
            attributions = EncodedMaps(output.maps.shapes, *maps)
            maps, tokens = [attributions.sums], None
        else:
            tokens = sum_tokens(maps, ranks, self.submodel.cut.explained_lookups, self.map_axes)
            has_all = self._options["inputs"] is None
            attributions = examples.inputs.restore_structure(self.submodel.cut.names, maps, has_all)
        if not return_result:
            _warn(texts)
            return attributions
        gap = completeness_gap(maps, score, baseline_score) if self.method.sums_to else np.full(len(score), np.nan)
        return Result(
            attributions=attributions,
            tokens=tokens,
            score=score.astype(dtype),
            baseline_score=baseline_score.astype(dtype),
            gap=gap.astype(dtype),
            target=examples.explained.target,
            evaluations=evaluations,
            warnings=texts,
            ys=examples.explained.ys,
            positions=examples.explained.positions,
            explained=examples.explained,
            method=self.method.id,
            precision_error=self.precision_error,
        )

    def _explain_sample_in_float32(self, examples: Examples, sizes: RunSizes) -> list[np.ndarray] | None:
        """The maps of the first examples in float32, `[n, ...]` for each input, before this explainer's own; None if they are not needed.

        Measures the rounding of the score, too.
        """
        n = 0 if self._is_exact else min(SAMPLE - self._sample.examples, examples.n)
        if n <= 0:
            return None
        batches = self.split(examples, examples.batch_size)
        sample = [rows[rows < n] for rows in batches if (rows < n).any()]
        inputs, reference = examples.inputs.take(np.arange(n)), self._in_float32
        narrow = examples._replace(inputs=inputs if inputs.are_entries else inputs.as_specs(reference.graph.inputs))
        size = REFERENCE_BATCH if self.precision == "tf32" and examples.batch_size > REFERENCE_BATCH else None
        try:
            *maps, scores = reference.explain_sample(narrow, sample, size)
        except tf.errors.ResourceExhaustedError as error:
            sizes.run_out(examples.batch_size, n, error)
            return self._explain_sample_in_float32(examples._replace(batch_size=sizes.evaluations()), sizes)
        if self.precision != "float64":  # where the difference is the rounding of float32
            rounded = np.concatenate([self._compute_scores(self.batch(examples, rows)) for rows in sample])
            rounding = np.abs(rounded - scores[np.concatenate(sample)])
            self._sample.rounding = max(self._sample.rounding, float(np.nan_to_num(rounding, posinf=0).max()))
        self._sample.examples += n
        return maps

    @cached_property
    def _in_float32(self) -> Explainer:
        other = copy.copy(self)
        for name in _OF_GRAPH:
            vars(other).pop(name, None)
        vars(other).update(precision="float32", _is_exact=True, _sample=PrecisionSample())
        if self.precision == "float64":
            other._bind(self.graph.before_float64)  # noqa: SLF001
            other._baselines = self._baselines.as_specs(other.graph.inputs)  # noqa: SLF001
        return other

    @in_its_precision
    def explain_sample(self, examples: Examples, batches: list[np.ndarray], size: int | None) -> list[np.ndarray]:
        """The maps of these examples, which are the first, `[n, ...]` for each input, and their scores `[n]`.

        `size`: that of all batches, which are filled up.
        """
        parts = list[list[np.ndarray]]()
        for rows in batches:
            batch = self.batch(examples, rows if size is None else np.resize(rows, size))
            maps = self.explain_batch(batch, examples.batch_size if size is None else size)[0].maps
            parts.append([values[: len(rows)] for values in (*maps, self._compute_scores(batch))])
        return join_batches(parts, batches, sum(map(len, batches)))

    def _compute_scores(self, batch: Batch) -> np.ndarray:
        """The scores of a batch `[B]`."""
        specs = [
            [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in each] for each in (batch.entries, batch.context)
        ]
        traced = tf.function(lambda entries, context: self.submodel.compute_output(entries, context), autograph=False)
        key = ("output", self.precision, repr(specs))
        compute_output = self.submodel.compile_once(key, lambda: traced.get_concrete_function(*specs))
        targets = [None if a is None else tf.constant(a) for a in (batch.target, batch.ys)]
        scores: np.ndarray = tf.cast(select(compute_output(batch.entries, batch.context), *targets), tf.float64).numpy()
        return scores

    def _add_warnings(self, texts: list[list[str]], examples: Examples, batch_size: int | None) -> None:
        """Add to the warnings of the maps those of their examples, and those of all maps."""
        inputs, general = examples.inputs, self.general_warnings(examples.inputs, batch_size)
        for i in np.flatnonzero(inputs.not_finite):
            if not any("NaN" in text for text in texts[i]):  # a ReLU may have turned it into zero
                texts[i].append("the input holds NaN or infinity, which the model passes over")
        for of_example, added in zip(texts, examples.explained.warnings, strict=False):
            of_example += added
        for text, applies in inputs.notes:
            for i in np.flatnonzero(applies):
                texts[i].append(text)
        for of_example in texts:
            of_example += general

    def general_warnings(self, inputs: Inputs, batch_size: int | None = None) -> list[str]:
        """What a reader of any map of these examples must know: what is not explained, and what the check of the graph found."""
        if (other := self.for_examples(inputs, batch_size)) is not self:
            return other.general_warnings(inputs, batch_size)
        texts = list(self._warnings)
        if self.precision == "float32" and may_have_computed_in_tf32() and computes_on_gpu():
            texts.append(MAY_BE_TF32)
        if inputs.are_entries:
            return texts
        verdict = self._judge(tuple(a.shape[1:] for a in inputs.arrays), inputs)
        if verdict.mixes and batch_size != 1:
            texts.append(
                f"the model mixes the examples of a batch: the output of the first example is {verdict.mixes}, so that maps "
                "depend on the batch; batch_size=1 explains every example alone"
            )
        if verdict.not_compared:
            texts.append(f"the graph was not compared with the model, which cannot be called: {verdict.not_compared}")
        return texts

    # The methods from here to `trace` are for Evaluator.

    @in_its_precision
    def prepare(
        self, xs: Any, *, ys: Any = None, target: Any = DEFAULT, batch_size: int | None = None, seed: int | None = None
    ) -> Examples:
        """The arguments of `run`, checked; with the seed of each example if there is a seed."""
        if ys is not None and target is not None and target is not DEFAULT:
            raise InputError(
                "got both ys and target: ys weights all units of the output, target chooses one; give one of them"
            )
        inputs = self.check(xs)
        if ys is not None:
            weights = check_ys(ys, inputs.n)
            explained = Explained(weights=weights, ys=weights)
        else:
            explained = self._explain_target(self._target if target is DEFAULT else target, inputs, batch_size)
        seeds = None if seed is None else inputs.seeds(seed)
        if batch_size is None and not self.submodel.has_counted_activations:
            self._compiled_for(self.batch(Examples(inputs, explained, seeds, 2), self._queue(inputs).take(2)))
        return Examples(inputs, explained, seeds, self.batch_sizes.of(inputs, batch_size).evaluations())

    def split(self, examples: Examples, size: int) -> list[np.ndarray]:
        """The row numbers of each batch of at most `size` examples."""
        return self._queue(examples.inputs).split(size)

    @in_its_precision
    def batch(self, examples: Examples, rows: np.ndarray, submodel: Submodel | None = None) -> Batch:
        """These examples at the entry tensors of a submodel; by default of that which is explained."""
        submodel = submodel or self.submodel
        if examples.inputs.are_entries and submodel is not self.submodel:
            raise InputError("measures replace values of the model's inputs; give these, not values of inner tensors")
        return make_batch(submodel, examples, rows)

    def _explain_and_measure(
        self, batch: Batch, size: int, left: int, sizes: RunSizes, encode: Encode | None
    ) -> tuple[MethodOutput, list[list[str]]]:
        """As explain_batch, in batches of a size from which `sizes` learns. `left`: the examples that were left before."""
        count, xla = len(batch.rows), sizes.xla
        if sizes.xla_is_due(size, count, left):
            texts: list[list[str]] = []

            def plain() -> MethodOutput:
                output, texts[:] = self.explain_batch(batch, size)
                return output

            output = xla.compare(plain, lambda: self.explain_batch(batch, size, jit=True)[0])
            sizes.count(size)
            return output.encoded(encode), texts
        jit = xla.is_kept and sizes.is_full(size, count)  # what XLA computes is filled up to full batches
        sizes.begin()
        started = time.perf_counter()
        output, texts = self.explain_batch(batch, size, jit=jit or None, encode=encode)
        seconds = time.perf_counter() - started
        if jit:
            sizes.count(size, with_xla=True)
            return output, texts
        sizes.record(size, count, int(output.evaluations.sum()), seconds)
        return output, texts

    @in_its_precision
    def explain_batch(
        self, batch: Batch, batch_size: int, jit: bool | None = None, encode: Encode | None = None
    ) -> tuple[MethodOutput, list[list[str]]]:
        """The method's output, and the warnings of each example. `jit`: by default that of the explainer. `encode`: as in `run`."""
        compiled = self._compiled_for(batch, jit)
        check_target(batch.target, compiled.output_shape)
        check_ys(batch.ys, None, compiled.output_shape if batch.target is None else compiled.output_shape[:-1])
        try:
            output = compiled(batch, batch_size, self._sample.rounding, self.batch_sizes.held_values, encode)
            n = len(batch.entries[0])
        except tf.errors.InvalidArgumentError as error:
            if not any(entry.dtype == tf.string for entry in batch.entries):
                self._check_rows(len(self._compute_output(batch.entries, batch.context)), len(batch.entries[0]))
                raise
            raise ParameterError(
                f"the model cannot read examples with values of the baseline: {model_error_text(error)}; {UNREADABLE}"
            ) from error
        for array in output.arrays:
            self._check_rows(len(array), n)
        texts = self._diagnostics.describe(self.method.family, output.maps, output.score, batch)
        for text, applies in zip(compiled.warnings, output.warnings, strict=True):
            for i in np.flatnonzero(applies):
                texts[i].append(text.replace(ROUNDING, self._describe_rounding()))
        return output, texts

    def _describe_rounding(self) -> str:
        rounding = self._sample.rounding
        changes = f", which changes scores by up to {rounding:.1g}," if rounding else ""
        return ROUNDING.format(precision=self.precision if self.precision != "mixed" else "mixed precision") + changes

    def _check_rows(self, rows: int, n: int) -> None:
        """UnsupportedModelError unless the output has a row for each of n examples."""
        if rows != n:
            raise UnsupportedModelError(
                f"the output {self.submodel.cut.output!r} has {rows} rows for {n} examples; "
                "it needs the batch as its first axis: choose another output"
            )

    @cached_property
    def _compute_output(self) -> Any:
        return tf.function(self.submodel.compute_output, autograph=False, reduce_retracing=True)

    @in_its_precision
    def trace(
        self,
        call: Callable[..., Any],
        submodel: Submodel,
        baseline: Any,
        batch: Batch,
        extra_specs: Sequence[Any],
        key: Any,
    ) -> Any:
        """`call(score, *extras)` as one function, with the score of this submodel; see compiled_method.trace.

        `baseline`: of the call, resolved. `key` holds all on which `call` and the other arguments depend: calls with equal keys
        share a function.
        """
        return submodel.compile_once_for_shapes(
            ("measure", bool(self._jit), self.precision, key),
            shape_choices(submodel, batch.entries, baseline),
            lambda shapes: compiled_method.trace(call, submodel, shapes, batch, bool(self._jit), extra_specs),
        )

    def _compiled_for(self, batch: Batch, jit: bool | None = None) -> CompiledMethod:
        """The method, compiled for batches like this one."""
        jit = bool(self._jit if jit is None else jit)
        takes_open_sizes = functools.partial(self.method.takes_open_sizes, **self.method.with_defaults(self.parameters))
        baseline = self.method.baseline(self._resolved_parameters)
        return self.submodel.compile_once_for_shapes(
            ("method", self.method.function, self._parameters_digest, jit, self.precision, batch.signature),
            shape_choices(self.submodel, batch.entries, baseline, takes_open_sizes),
            lambda shapes: self._compile(shapes, batch, jit),
        )

    @cached_property
    def _parameters_digest(self) -> str:
        return digest(self._resolved_parameters)

    def _compile(self, shapes: Shapes, batch: Batch, jit: bool = False) -> CompiledMethod:
        try:
            return compile_method(self.method, self._resolved_parameters, self.submodel, shapes, batch, jit)
        except UnsupportedModelError as error:
            ends = {final_activation_node(self.graph.view, tensor) for tensor in self.graph.outputs.values()}
            nodes = (
                self.submodel.region_analysis.unsupported_nodes
                if self.method.family == "backprop rule"
                else frozenset()
            )
            if self._score is None or self._options["logits"] or not nodes or nodes - ends:
                raise
            raise UnsupportedModelError(
                f"{error}; or logits=True, which gives the score function the logits before the softmax"
            ) from error

    def _explain_target(self, target: Any, inputs: Inputs, batch_size: int | None) -> Explained:
        """What a target explains of the examples."""
        if isinstance(target, Explained) or target is None:
            return target or Explained()
        if self._score is not None and target is not DEFAULT:
            raise InputError("got target, but score= is what is explained; leave one of them out")
        if self._score is not None:
            return Explained()
        submodel = self.submodel
        is_number = not has_axes(target) and target is not DEFAULT and not isinstance(target, str)
        shape = None if is_number and not submodel.explains_model_output else submodel.output_shape
        is_single = shape is not None and shape[1:][-1:] in ((), (1,))
        sum_of_two, label_threshold = self._sigmoids if submodel.explains_model_output else (None, None)
        if target is DEFAULT:
            if is_single and sum_of_two is None:
                return Explained()
            if inputs.labels is not None:
                warn("the labels that came with xs are not explained; target='label' explains them")
            target = 1 if is_single else "predicted"
        if isinstance(target, str) and target == "predicted":
            outputs, lengths = self._outputs(inputs, batch_size)
            return predict_target(outputs, sum_of_two, label_threshold, lengths)
        if is_label := isinstance(target, str) and target == "label":
            target = inputs.labels_of(self._options["output"], submodel.graph.outputs)
        units = None if shape is None else (*shape, 1)[max(1, len(shape) - 1)]
        classes = None if units is None else 2 if units == 1 and sum_of_two is not None else units
        numbers, are_positions = read_target(target, inputs.n, shape, classes, self._class_names, is_label)
        if are_positions:
            sizes = self._outputs(inputs, batch_size)[0].shape if shape is None or None in shape[1:] else shape
            check_target(numbers, sizes)
            return Explained(numbers, target=numbers)
        needs_outputs = submodel.explains_model_output and inputs.n and (shape is None or len(shape) > 2)
        if not needs_outputs:
            return explain_classes(numbers, shape, None, sum_of_two)
        outputs, lengths = self._outputs(inputs, batch_size)
        return explain_classes(numbers, outputs.shape, outputs, sum_of_two, lengths)

    def _outputs(self, inputs: Inputs, batch_size: int | None) -> tuple[np.ndarray, np.ndarray | None]:
        """`[N, ...]` the explained output, and `Predictions.output_lengths`."""
        if not inputs.are_entries:
            predictions = self.predict(inputs, batch_size=batch_size)
            return predictions.outputs, predictions.output_lengths
        batches = self._queue(inputs).split(self.batch_sizes.of(inputs, batch_size).evaluations())
        parts = []
        for rows in batches:
            arrays = [tf.constant(take_rows(array, rows)) for array in inputs.arrays]
            entries, _ = compute_entries(self.submodel, arrays, True, len(rows))
            parts.append([self._compute_output(entries, []).numpy()])
        return join_batches(parts, batches, inputs.n)[0], None

    def _queue(self, inputs: Inputs) -> RowQueue:
        """Raw strings that the model pads are batched by length: a map must not depend on the other examples of its batch."""
        padded = (
            not inputs.are_entries
            and self.submodel.cut.all_lookups
            and any(array.dtype == object for array in inputs.arrays)
        )
        arrays = [tf.constant(array) for array in inputs.arrays] if padded else []
        ids = [tokens.numpy() for tokens in self.submodel.token_ids(arrays)] if padded else []
        return RowQueue(len(inputs.arrays[0]), ids)


def _check_switches(**switches: Any) -> None:
    """ParameterError unless these options are True or False."""
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise ParameterError(f"{name}={value!r}: expected True or False")


def _warn(texts: list[list[str]]) -> None:
    """A UserWarning for each text, with the number of examples."""
    for text, count in collections.Counter(text for of_example in texts for text in of_example).items():
        warn(f"{count} of {len(texts)} examples: {text}")
