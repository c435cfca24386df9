"""What an error says, in one line: TensorFlow wraps its reason in node names and stack traces."""

from __future__ import annotations

import re

import tensorflow as tf

from tb_deepexplain.errors import DeepExplainError

_LONGEST = 500
_WRAPPING = re.compile(
    r'^(Graph execution error:|Detected at node |File "|<stack traces|Stack trace|\d+ root error|\(\d+\) )'
)


def describe(error: BaseException) -> tuple[str, str]:
    """(its type, its reason)."""
    if isinstance(error, DeepExplainError):
        return type(error).__name__, " ".join(str(error).split())[:_LONGEST]
    text = str(error.message if isinstance(error, tf.errors.OpError) else error)
    lines = [re.sub(r"\{\{function_node [^}]*\}\} ?", "", line).strip() for line in text.splitlines()]
    nodes = [i for i, line in enumerate(lines) if line.startswith("[[{{node")]
    # The reason stands above the node in which it arose.
    told = [line for line in (lines[: nodes[0]] if nodes else lines) if line and not _WRAPPING.match(line)]
    reason = (told[-1] if nodes else told[0]) if told else text.strip() or "no message"
    return type(error).__name__, reason.split(" [Op:")[0][:_LONGEST]
