"""From a name that a user writes (of a tensor, node, layer or scope) to a tensor of the graph."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.graph.graph_view import SHAPE_OPS, GraphView, node_name, tensor_name

_RESOURCE = 20  # DT_RESOURCE: the handle of a variable


def find_tensor(view: GraphView, layers: Mapping[str, str], name: str, outputs_of_model: Collection[str] = ()) -> str:
    """The tensor that `name` means; `layers` maps known layers to their outputs. ParameterError if none or several fit, which
    names the outputs of the model where these could be meant."""
    if name in layers:
        return layers[name]
    if node_name(name) in view.nodes:
        return tensor_name(name)
    if of_another_load := _after_another_load(view, name):
        return of_another_load
    # TensorFlow numbers repeated scopes: `dense_1` may be a layer of that name, or the second scope of layer `dense`.
    scopes = {m.group(0) for n in view.nodes if (m := re.match(rf"(?:.*/)?{re.escape(name)}(?:_\d+)?(?=/)", n))}
    outputs = [t for scope in sorted(scopes) for t in _scope_outputs(view, scope)]
    leaves = [n for n in view.nodes if re.fullmatch(rf".*/{re.escape(name)}(?:_\d+)?", n)]
    outputs = outputs or [f"{n}:0" for n in leaves]
    # A layer that is called again on its own output, or whose weights are tied, means its first call.
    first = [t for t in outputs if all(node_name(t) in view.ancestors([other]) for other in outputs)]
    if len(first) == 1:
        return first[0]
    if outputs:
        raise ParameterError(f"{name!r} may mean any of {', '.join(outputs[:6])}; give one of these tensor names")
    known = sorted(layers) or sorted({part for n in view.nodes for part in n.split("/")[:-1]}) or sorted(view.nodes)
    what, first_names = "tensor or layer", ""
    if outputs_of_model:
        what, first_names = "output, layer or tensor", f"its outputs are {', '.join(outputs_of_model)}, "
    raise ParameterError(
        f"the model has no {what} {name!r}; {first_names}its layers include {', '.join(known[:40]) or 'none'}"
    )


def _after_another_load(view: GraphView, name: str) -> str | None:
    """The tensor that had this name when the model was loaded before: Keras numbers the outermost scope anew with each load."""
    outermost, _, rest = tensor_name(name).partition("/")
    base = re.sub(r"(_\d+)+$", "", outermost)
    pattern = re.compile(rf"{re.escape(base)}(_\d+)*/{re.escape(node_name(rest))}")
    nodes = [node for node in view.nodes if pattern.fullmatch(node)] if rest else []
    return f"{nodes[0]}:{rest.split(':')[1]}" if len(nodes) == 1 else None


def _scope_outputs(view: GraphView, scope: str) -> list[str]:
    """The tensors that are computed inside a name scope and whose values are used outside it."""
    prefix, outputs = scope + "/", []
    for name, node in view.nodes.items():
        is_handle = node.op == "Placeholder" and node.attr["dtype"].type == _RESOURCE
        if name.startswith(prefix) and not is_handle and node.op not in (*SHAPE_OPS, "Const", "ReadVariableOp", "NoOp"):
            consumers = view.consumers.get(f"{name}:0")
            outside = [n for n in consumers or () if not n.startswith(prefix) and view.nodes[n].op not in SHAPE_OPS]
            if consumers is None or outside:
                outputs.append(f"{name}:0")
    return outputs
