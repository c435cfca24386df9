"""ModelGraph: a model as one TensorFlow graph, the form in which every model is explained.

Its variables are captured, not copied: a model is in memory once, and an explanation always uses the current weights.
"""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import ParameterError, UnsupportedModelError
from tb_deepexplain.graph.cut import make_cut
from tb_deepexplain.graph.determinism import check_determinism, writes_variables
from tb_deepexplain.graph.double_precision import to_double, wide
from tb_deepexplain.graph.embedding_lookups import find_padding_id
from tb_deepexplain.graph.entries import Access, Shape
from tb_deepexplain.graph.graph_view import GraphView, list_names, node_name, tensor_name
from tb_deepexplain.graph.imported_graph import ImportedGraph
from tb_deepexplain.graph.inlining import inline, outputs_of
from tb_deepexplain.graph.input_spec import InputSpec, fits
from tb_deepexplain.graph.logits import find_logits
from tb_deepexplain.graph.origin import ExampleShapes, Origin
from tb_deepexplain.graph.score_function import ScoreFunction, add_score, trace_score
from tb_deepexplain.graph.submodel import Submodel
from tb_deepexplain.graph.weights import variable_reads

GRAPHS_AT_SIZES = 8  # of one model, kept at once


class ModelGraph:
    """A model as a graph: `inputs` are the InputSpecs of its inputs, `outputs` maps output names to tensor names."""

    def __init__(
        self,
        function: Any,
        inputs: Sequence[str],
        outputs: Sequence[str],
        source: str,
        *,
        keep: Any = None,
        layers: Mapping[str, str] | None = None,
        has_ordered_inputs: bool = True,
        origin: Origin | None = None,
    ) -> None:
        """Inline the ConcreteFunction `function`.

        `inputs` and `outputs` are names, in the function's order; `source` describes the model in messages; `keep` is
        an object that must live as long as the graph; `layers` maps names of layers to their output tensors, as far as
        they are known; `has_ordered_inputs` says whether callers may pass the inputs as a list; `origin` is the model that
        the function was traced from.
        """
        placeholders = function.inputs[: len(inputs)]
        self.source, self.has_ordered_inputs, self._layers = source, has_ordered_inputs, dict(layers or {})
        shapes = [tuple(p.shape) if p.shape.rank is not None else (None,) for p in placeholders]
        self.inputs = tuple(
            InputSpec(name, p.dtype.name, shape, p.op.name, traced_shape=shape)
            for name, p, shape in zip(inputs, placeholders, shapes, strict=True)
        )
        for spec in self.inputs:
            if spec.shape and spec.shape[0] is not None:
                raise UnsupportedModelError(
                    f"{source}: input {spec} takes exactly {spec.shape[0]} examples at once; "
                    "export the model with a batch of None, or give (function, tf.TensorSpec([None, ...])) for a function"
                )
            if tf.as_dtype(spec.dtype).is_complex:
                raise UnsupportedModelError(
                    f"{source}: input {spec} is complex: wrap the model in a function of real and imaginary parts, which calls it with "
                    "tf.complex(real, imaginary)"
                )
        self._view = GraphView(inline(function))
        self.outputs = {name: tensor_name(t.name) for name, t in zip(outputs, outputs_of(function), strict=True)}
        self.output_specs = {tensor_name(t.name): tf.TensorSpec(t.shape, t.dtype) for t in outputs_of(function)}
        self._captures = {tensor_name(internal.name): external for external, internal in function.graph.captures}
        self._is_changed_by_calls = writes_variables(function.graph.as_graph_def())
        self._keep = (function, keep)  # a SavedModel's signature holds only weak references to its variables
        self._constants: dict[str, Any] = {}  # values that replace constants of the graph
        self._model_without_variables = object()  # stands for it in `identity`, for all its graphs
        self._submodels: dict[Any, Submodel] = {}
        self._score_captures: dict[str, Any] = {}  # of a score function: it is no part of the model
        self._with_scores: dict[Any, ModelGraph] = {}
        self.warnings: tuple[str, ...] = ()  # of the loader, for a reader of any map
        self.dtypes_of_model: frozenset[int] = (
            frozenset()
        )  # numbers of `DataType`; those in which it computed before `in_float64`
        self._before_widening: ModelGraph | None = None
        self.origin, self._all_outputs = origin or Origin(), tuple(self.outputs)
        self._new_variables: dict[int, Any] = {}  # for the variables of the model, by the id of their handle
        self._graphs_at_sizes: dict[ExampleShapes, ModelGraph] = {}
        self._tracing = threading.Lock()
        # Of checks against the model, for all explainers of the graph.
        self.verdicts, self.checking = dict[Any, Any](), threading.Lock()

    @property
    def view(self) -> GraphView:
        """The graph itself; read only."""
        return self._view

    @property
    def identity(self) -> tuple[int, ...]:
        """Equal for graphs of one model in this process: those that read the same variables, or come from the same load."""
        values = (*self._captures.values(), *self._constants.values())
        return tuple(sorted(map(id, values))) or (id(self._model_without_variables),)

    def padding_id(self, ids: str) -> int | None:
        """The id that fills up texts, for the name of a tensor of token ids; None if the model does not say it.

        It is that in the model's configuration (Hugging Face has one), or as `find_padding_id` finds it.
        """
        before = self._view.ancestors([ids])
        if all(spec.name.endswith("input_ids") for spec in self.inputs if spec.node in before) or len(self.inputs) == 1:
            for kept in _flatten(self._keep):
                number = getattr(getattr(kept, "config", None), "pad_token_id", None)
                if isinstance(number, int):
                    return number
        return find_padding_id(self._view, ids)

    def submodel(
        self,
        inputs: str | Sequence[str] | None = None,
        output: str | None = None,
        logits: bool | None = None,
        access: Access = "gradient",
    ) -> Submodel:
        """The part of the model from `inputs` to `output`, as described in `Explainer`; the same object for equal cuts.

        Raises ParameterError for unknown names, UnsupportedModelError where the output is not deterministic or does not
        depend on an input.
        """
        names = None if inputs is None else tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
        for name, option in (*((name, "inputs") for name in names or ()), (output, "output")):
            if name is not None and not isinstance(name, str):
                hint = f"; its name is {name.name!r}" if isinstance(getattr(name, "name", None), str) else ""
                raise ParameterError(f"{option}: got {type(name).__name__}; give the name of a layer or tensor{hint}")
        if names == ():
            raise ParameterError("inputs: got an empty list; name an input, layer or tensor, or leave inputs out")
        key = (names, output, logits, access)
        if key not in self._submodels:
            specs = [dataclasses.replace(spec, shape=spec.traced_shape) for spec in self.inputs]
            cut = make_cut(
                self._view, specs, self.outputs, self._layers, names, output, logits, access, self.static_shapes
            )
            check_determinism(self._view, [cut.output, cut.model_output])
            equal = (submodel for submodel in self._submodels.values() if submodel.cut == cut)
            self._submodels[key] = next(equal, None) or Submodel(self, cut)
        return self._submodels[key]

    def fits(self, shapes: ExampleShapes) -> bool:
        """Whether the graph was traced for examples of these shapes, one for each input, without the batch."""
        return all(fits(shape, spec.traced_shape[1:]) for shape, spec in zip(shapes, self.inputs, strict=True))

    @property
    def has_open_sizes(self) -> bool:
        """Whether the model could be traced for sizes, besides that of the batch, which are open in this graph."""
        return self.origin.trace is not None and any(None in spec.traced_shape[1:] for spec in self.inputs)

    def at_sizes(self, shapes: ExampleShapes) -> ModelGraph | None:
        """The same model traced for examples of exactly these shapes; None if there is no model to trace, or no other trace.

        UnsupportedModelError if the model does not take these shapes.
        """
        if self.origin.trace is None or all(
            shape == s.traced_shape[1:] for shape, s in zip(shapes, self.inputs, strict=True)
        ):
            return None
        with self._tracing:
            if shapes not in self._graphs_at_sizes:
                while len(self._graphs_at_sizes) >= GRAPHS_AT_SIZES:
                    del self._graphs_at_sizes[next(iter(self._graphs_at_sizes))]
                self._graphs_at_sizes[shapes] = self._trace_again(shapes)
            return self._graphs_at_sizes[shapes]

    def _trace_again(self, shapes: ExampleShapes) -> ModelGraph:
        assert self.origin.trace is not None
        graph = self.origin.trace(shapes)
        for name in map(node_name, self._constants):  # changed weights
            node = graph.view.nodes.get(name)
            if node is None or node.attr["value"] != self._view.nodes[name].attr["value"]:
                raise UnsupportedModelError(
                    f"{self.source}: the weight {name} is a constant, which the graph for examples of shapes {shapes} has not: give "
                    "the model with its weights as variables"
                )
        captures = graph._captures.items()  # noqa: SLF001
        return graph._replace(
            inputs=tuple(
                dataclasses.replace(spec, node=traced.node, traced_shape=traced.traced_shape)
                for spec, traced in zip(self.inputs, graph.inputs, strict=True)
            ),
            outputs={name: graph.outputs[name] for name in self.outputs},
            origin=dataclasses.replace(self.origin, trace=None),
            warnings=self.warnings,
            _all_outputs=self._all_outputs,
            _captures={name: self._new_variables.get(id(handle), handle) for name, handle in captures},
            _constants=self._constants,
            _model_without_variables=self._model_without_variables,
            _keep=(graph._keep, self._keep),  # noqa: SLF001
        )

    def call_model(self, inputs: Sequence[Any]) -> dict[str, Any] | None:
        """The outputs `[N, ...]` of the model as its owner calls it, by name; None if there is only a graph, or calls change it."""
        if self.origin.call is None or self._is_changed_by_calls:
            return None
        return dict(zip(self._all_outputs, self.origin.call(inputs), strict=True))

    def import_graph(self, feeds: Mapping[str, Any], custom_gradients: bool = True) -> ImportedGraph:
        """The model imported into the function that is being traced; `feeds` replace the tensors they name.

        Without `custom_gradients` its gradient is that of what it computes.
        """
        constants = {name: tf.constant(value) for name, value in self._constants.items()}
        captures = self._captures | self._score_captures
        return ImportedGraph(self._view, captures, constants | dict(feeds), custom_gradients)

    @property
    def is_in_float64(self) -> bool:
        """Whether this is a graph of `in_float64`."""
        return self._before_widening is not None

    @property
    def before_float64(self) -> ModelGraph:
        """The graph of which `in_float64` made this one, else this graph."""
        return self._before_widening or self

    def in_float64(self) -> ModelGraph:
        """The same model with the same weights, computing in float64: its inputs, its outputs and all that lies between.

        The values of variables and constants, which are those of the model, and the inputs are not rounded any more; neither are
        float16 steps of a model in mixed precision. `inputs` then say float64 where they said float32 or less, and any numbers are
        taken for them. Names stay. The model itself is still called as it is (`call_model`), so that a check compares the two
        within the model's rounding (`dtypes_of_model`). Where TensorFlow has no float64 kernel for an op, its inputs are cast to
        float32, and one of `warnings` names it. A score function is to be added before (`with_score`) or after: it is traced with
        the dtypes of the model. Returns `self` for a model that is in float64 already. Raises UnsupportedModelError, which names the
        op, for a graph that cannot be rewritten.
        """
        if self.is_in_float64:
            return self
        doubled = to_double(self._view.graph_def(), self._captured_tensors())
        view = GraphView(doubled.graph_def)
        outputs = {name: doubled.renamed.get(tensor, tensor) for name, tensor in self.outputs.items()}
        specs = {doubled.renamed.get(tensor, tensor): _widen(spec) for tensor, spec in self.output_specs.items()}
        needed = view.ancestors(outputs.values())
        steps = [f"{name} ({op})" for name, op in doubled.limited.items() if name in needed or name not in view.nodes]
        texts = (
            [f"computed in float32, for lack of a float64 kernel of TensorFlow: {list_names(steps)}"] if steps else []
        )
        graph = self._replace(
            _view=view,
            outputs=outputs,
            output_specs=specs,
            inputs=tuple(map(_widen_input, self.inputs)),
            warnings=(*self.warnings, *texts),
            origin=self._origin_in_float64(),
            dtypes_of_model=self.dtypes_of_model | _types(self._view),
            _constants={name: _widen_array(value) for name, value in self._constants.items()},
            _before_widening=self,
            verdicts={},
            checking=threading.Lock(),
        )
        try:
            graph.static_specs(list(outputs.values()), {})
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise UnsupportedModelError(
                f"{self.source}: its graph cannot be computed in float64: {model_error_text(error)}"
            ) from error
        return graph

    def _captured_tensors(self) -> set[str]:
        return {*self._captures, *self._score_captures}

    def _origin_in_float64(self) -> Origin:
        """The model as it is called, in its own dtypes; traced again for other sizes, the graph is widened again."""

        def call(inputs: Sequence[Any]) -> list[Any]:
            assert self.origin.call is not None
            return self.origin.call(
                [tf.cast(x, s.dtype) if s.is_float else x for x, s in zip(inputs, self.inputs, strict=True)]
            )

        def trace(shapes: ExampleShapes) -> ModelGraph:
            return self._trace_again(shapes).in_float64()

        return dataclasses.replace(
            self.origin,
            call=None if self.origin.call is None else call,
            trace=None if self.origin.trace is None else trace,
        )

    def with_warning(self, text: str) -> ModelGraph:
        """The same model with one more warning for all its maps."""
        return self._replace(warnings=(*self.warnings, text))

    def with_input_defaults(self, values: Mapping[str, np.ndarray], sparse: Collection[str] = ()) -> ModelGraph:
        """The same model with these values for inputs that an example lacks; `sparse` are the names of sparse columns."""
        inputs = tuple(
            dataclasses.replace(spec, default=values.get(spec.name), is_sparse=spec.name in sparse)
            for spec in self.inputs
        )
        return self._replace(inputs=inputs)

    def with_origin(self, origin: Origin) -> ModelGraph:
        """The same graph, of a model that is called and parses examples like this."""
        return self._replace(origin=origin)

    def with_output(self, name: str) -> ModelGraph:
        """The same model with only this output; ParameterError if it has none of that name."""
        if name not in self.outputs:
            raise ParameterError(f"the model has no output {name!r}; it has {', '.join(self.outputs)}")
        return self._replace(outputs={name: self.outputs[name]})

    def with_score(self, function: ScoreFunction, logits: bool = False) -> ModelGraph:
        """The same model with one output `[N]`: this function of its outputs (a tensor, or a dict by name if there are several).

        With `logits` the function gets the logits of the outputs that end in a softmax or sigmoid. Raises ParameterError if it
        does not return one real number for each example.
        """
        key = (id(function), logits)  # a callable object may have no hash; the new graph keeps it alive
        if key not in self._with_scores:
            tensors = self.outputs
            before = self._before_widening or self
            specs = {name: before.output_specs[before.outputs[name]] for name in tensors}
            traced = trace_score(function, specs)
            if logits:
                tensors = {name: find_logits(self._view, tensor) or tensor for name, tensor in tensors.items()}
            view, score, captures = add_score(self._view, tensors, traced, self.is_in_float64)
            self._with_scores[key] = self._replace(
                _view=view,
                outputs={"score": score},
                output_specs={
                    score: tf.TensorSpec([None], "float64" if self.is_in_float64 else traced.outputs[0].dtype)
                },
                _score_captures=captures,
                _keep=(self._keep, traced, function),
                origin=self._origin_of_score(function, logits),
                _all_outputs=("score",),
                verdicts={},
            )
        return self._with_scores[key]

    def _origin_of_score(self, function: ScoreFunction, logits: bool) -> Origin:
        """The score of what the model returns when it is called. The logits of a model that is called are unknown."""

        def call(inputs: Sequence[Any]) -> list[Any]:
            returned = self.call_model(inputs) or {}
            outputs = {name: returned[name] for name in self.outputs}
            return [function(outputs if len(outputs) > 1 else next(iter(outputs.values())))]

        def trace(shapes: ExampleShapes) -> ModelGraph:
            return self._trace_again(shapes).with_score(function, logits)

        is_called = self.origin.call is not None and not logits
        return dataclasses.replace(
            self.origin,
            call=call if is_called else None,
            trace=None if self.origin.trace is None else trace,
        )

    def with_weights(self, values: Mapping[str, np.ndarray]) -> ModelGraph:
        """A copy of the model with these values for some of its weights (names as in `Submodel.weights_by_layer`)."""
        variables = {name: tf.Variable(value) for name, value in values.items() if name in self._captures}
        constants = {name: value for name, value in values.items() if name not in self._captures}
        new = {id(self._captures[name]): variable.handle for name, variable in variables.items()}
        return self._replace(
            _captures=self._captures | {name: variable.handle for name, variable in variables.items()},
            _constants=self._constants | constants,
            _keep=(self._keep, variables),
            _new_variables={key: new.get(id(handle), handle) for key, handle in self._new_variables.items()} | new,
            origin=dataclasses.replace(self.origin, call=None),
            verdicts=dict(self.verdicts),  # those to come are not of the model itself, which is not called
        )

    def with_input_shapes(self, shapes: ExampleShapes, any_size: bool = False) -> ModelGraph:
        """The same graph of a model that declares these shapes, without the batch, of its inputs."""
        inputs = tuple(
            dataclasses.replace(spec, shape=(spec.shape[0], *shape), any_size=any_size)
            for spec, shape in zip(self.inputs, shapes, strict=True)
        )
        return self._replace(inputs=inputs)

    def weight_value(self, name: str) -> np.ndarray:
        """The values of a weight of `Submodel.weights_by_layer`."""
        if name in self._captures:
            return self._read_variable(name, variable_reads(self._view, name)[0][1]).numpy()
        return tf.make_ndarray(self._view.nodes[node_name(name)].attr["value"].tensor)

    def variables(self) -> Iterator[tuple[str, Any]]:
        """The variables that the model reads: the scope of each node that reads one, and its values."""
        for name in self._captures:
            for reader, dtype in variable_reads(self._view, name):
                yield reader.rsplit("/", 1)[0], self._read_variable(name, dtype)

    @property
    def not_finite_weights(self) -> list[str]:
        """The scopes of the variables that hold NaN or infinity now."""
        return [
            name
            for name, values in self.variables()
            if values.dtype.is_floating and not np.isfinite(np.asarray(values.numpy(), np.float64)).all()
        ]

    @property
    def captured_names(self) -> tuple[str, ...]:
        """The tensors of the graph through which it reads its variables."""
        return tuple(self._captures)

    def describe_layer(self, name: str) -> str:
        """In words, the Keras layer whose output a tensor is; if unknown, the scope in which it is computed."""
        layer = next((layer for layer, output in self._layers.items() if output == name), None)
        if layer is not None:
            return f"layer {layer!r}"
        *scopes, last = node_name(name).split("/")
        return f"{'/'.join(scopes[-2:]) or last!r} ({self._view.nodes[node_name(name)].op})"

    def static_specs(self, tensors: Sequence[str], of_inputs: Mapping[str, Shape]) -> list[tf.TensorSpec]:
        """Shapes, batch included, and dtypes of tensors. `of_inputs`: other shapes of inputs, by node."""

        def fetch(*inputs: Any) -> list[Any]:
            feeds = {tensor_name(spec.node): t for spec, t in zip(self.inputs, inputs, strict=True)}
            return self.import_graph(feeds).fetch(tensors)

        specs = [tf.TensorSpec(of_inputs.get(spec.node, spec.traced_shape), spec.dtype) for spec in self.inputs]
        fetched = tf.function(fetch, autograph=False).get_concrete_function(*specs).structured_outputs
        return [tf.TensorSpec(t.shape, t.dtype) for t in fetched]

    def static_shapes(self, tensors: Sequence[str], of_inputs: Mapping[str, Shape]) -> list[Shape | None]:
        """The shapes of `static_specs`; None if the rank is unknown."""
        return [None if s.shape.rank is None else tuple(s.shape) for s in self.static_specs(tensors, of_inputs)]

    def _replace(self, **attributes: Any) -> ModelGraph:
        """A copy with other attributes; it does not share submodels and traces."""
        other = copy.copy(self)
        vars(other).update(_submodels={}, _with_scores={}, _graphs_at_sizes={}, _tracing=threading.Lock())
        vars(other).update(attributes)
        return other

    def _read_variable(self, name: str, dtype: int) -> Any:
        return tf.raw_ops.ReadVariableOp(resource=self._captures[name], dtype=dtype)

    def __repr__(self) -> str:
        return f"ModelGraph({self.source}: {'; '.join(map(str, self.inputs))} -> {', '.join(self.outputs)})"


def _types(view: GraphView) -> frozenset[int]:
    """The types in the attributes of a graph's nodes."""
    return frozenset(a.type for node in view.nodes.values() for a in node.attr.values())


def _widen(spec: Any) -> Any:
    return tf.TensorSpec(spec.shape, tf.as_dtype(wide(spec.dtype.as_datatype_enum)))


def _widen_input(spec: InputSpec) -> InputSpec:
    default = spec.default if spec.default is None else _widen_array(spec.default)
    return dataclasses.replace(spec, dtype="float64" if spec.is_float else spec.dtype, default=default)


def _widen_array(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if tf.as_dtype(array.dtype).is_floating else array


def _flatten(nested: Any) -> Iterator[Any]:
    if isinstance(nested, tuple):
        for part in nested:
            yield from _flatten(part)
    else:
        yield nested
