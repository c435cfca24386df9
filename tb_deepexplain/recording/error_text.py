"""The reason of an error in one line. TensorFlow wraps it in names of nodes and stack traces."""

from __future__ import annotations

import re

import tensorflow as tf

from tb_deepexplain.errors import DeepExplainError

_MOST_CHARACTERS = 500
_WRAPPING = re.compile(
    r'^(Graph execution error:|Detected at node |File "|<stack traces|Stack trace|\d+ root error|\(\d+\) )'
)


def describe(error: BaseException) -> tuple[str, str]:
    """(the type, the reason) of an error."""
    if isinstance(error, DeepExplainError):
        return type(error).__name__, " ".join(str(error).split())[:_MOST_CHARACTERS]
    text = str(error.message if isinstance(error, tf.errors.OpError) else error)
    lines = [re.sub(r"\{\{function_node [^}]*\}\} ?", "", line).strip() for line in text.splitlines()]
    nodes = [i for i, line in enumerate(lines) if line.startswith("[[{{node")]
    before_node = lines[: nodes[0]] if nodes else lines  # the reason precedes the node that raised it
    reasons = [line for line in before_node if line and not _WRAPPING.match(line)]
    reason = (reasons[-1] if nodes else reasons[0]) if reasons else text.strip() or "no message"
    return type(error).__name__, reason.split(" [Op:")[0][:_MOST_CHARACTERS]
