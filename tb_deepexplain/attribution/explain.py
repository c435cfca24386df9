"""explain: the maps of some examples in one call, by one method or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tb_deepexplain.attribution.argument_order import order_arguments
from tb_deepexplain.attribution.explainer import Explainer
from tb_deepexplain.attribution.methods import check_methods
from tb_deepexplain.attribution.precision import Precision
from tb_deepexplain.attribution.targets import DEFAULT
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.score_function import ScoreFunction
from tb_deepexplain.registry.table import Selection


def explain(
    method: str | Selection,
    model: Any = None,
    xs: Any = None,
    *,
    ys: Any = None,
    target: Any = DEFAULT,
    inputs: str | Sequence[str] | None = None,
    output: str | None = None,
    logits: bool | None = None,
    score: ScoreFunction | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
    return_result: bool = False,
    jit: bool | None = None,
    background: Any = None,
    vocabulary: Sequence[str] | None = None,
    check_model: bool = True,
    check_batch: bool = True,
    precision: Precision = "float32",
    **params: Any,
) -> Any:
    """Attributions of `xs` by one method: `Explainer(method, model, ...).run(xs, ...)`. Keep an Explainer for more than one call.

    `method` may be a list of methods, or a dict of methods and their parameters: then the answer is a dict of what each returns.
    The model may also come first: `explain(model, xs, method)`.
    """
    method, model, xs = order_arguments("explain(method, model, xs)", method, model, xs)
    if xs is None:
        raise InputError("xs is missing: explain(method, model, xs) needs the examples")
    options: dict[str, Any] = {
        "inputs": inputs,
        "output": output,
        "logits": logits,
        "score": score,
        "class_names": class_names,
        "jit": jit,
        "background": background,
        "vocabulary": vocabulary,
        "check_model": check_model,
        "check_batch": check_batch,
        "precision": precision,
    }
    run: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "progress": progress, "return_result": return_result}
    if isinstance(method, str):
        return Explainer(method, model, **options, **params).run(xs, ys=ys, target=target, **run)
    if params:
        raise ParameterError(
            f"{next(iter(params))}: of which of several methods? Give a dict: {{'occlusion': {{'window_shape': ...}}, 'saliency': {{}}}}"
        )
    check_methods(method)
    first, *others = list(method)
    parameters = method if isinstance(method, Mapping) else {name: {} for name in method}
    explainer = Explainer(first, model, **options, **parameters[first])
    checked = explainer.check(xs)
    of_shapes = explainer.for_examples(checked, batch_size)
    explained = of_shapes.prepare(checked, ys=ys, target=target, batch_size=batch_size).explained
    answers = {first: explainer.run(checked, target=explained, **run)}
    xs = xs if checked.are_entries else checked  # methods may differ in their entry tensors
    for name in others:
        answers[name] = explainer.for_method(name, parameters[name]).run(xs, target=explained, **run)
    return answers
