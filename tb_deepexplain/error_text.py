"""The reason of another library's error in one line: Keras, TensorFlow and Beam's runners wrap it, each in their way."""

from __future__ import annotations

import re

from tb_deepexplain.errors import DeepExplainError

_MOST_CHARACTERS = 500
_MOST_CHARACTERS_OF_MODELS = 300
_TENSORFLOW_WRAPPING = re.compile(
    r'^(Graph execution error:|Detected at node |File "|<stack traces|Stack trace|\d+ root error|\(\d+\) )'
)


def describe_failure(error: BaseException) -> tuple[str, str]:
    """(the type, the reason) of an error of one example. TensorFlow adds names of nodes and stack traces to its errors."""
    if isinstance(error, DeepExplainError):
        return type(error).__name__, " ".join(str(error).split())[:_MOST_CHARACTERS]
    is_tensorflow = hasattr(error, "error_code") and hasattr(error, "message")  # a tf.errors.OpError
    text = str(error.message if is_tensorflow else error)  # type: ignore[attr-defined]
    lines = [re.sub(r"\{\{function_node [^}]*\}\} ?", "", line).strip() for line in text.splitlines()]
    nodes = [i for i, line in enumerate(lines) if line.startswith("[[{{node")]
    before_node = lines[: nodes[0]] if nodes else lines  # the reason precedes the node that raised it
    reasons = [line for line in before_node if line and not _TENSORFLOW_WRAPPING.match(line)]
    reason = (reasons[-1] if nodes else reasons[0]) if reasons else text.strip() or "no message"
    return type(error).__name__, reason.split(" [Op:")[0][:_MOST_CHARACTERS]


def model_error_text(error: BaseException) -> str:
    """The first sentence of the reason why Keras or TensorFlow cannot load a model, out of a message as long as a page."""
    lines = _lines(re.sub(r"\x1b\[\d*m", "", str(error)), error)
    if lines[0] == "Graph execution error:":
        return describe_failure(error)[1][:_MOST_CHARACTERS_OF_MODELS]
    lines = [line for line in lines if not line.startswith("Exception encountered when calling")] or lines
    reasons = [line for line in lines if re.match(r"(\w+Error|Exception encountered): ", line)] or lines
    reason = reasons[0].removeprefix("Exception encountered: ")
    return re.split(r"\.\s", reason)[0].removesuffix(".")[:_MOST_CHARACTERS_OF_MODELS]


def runner_error_text(error: BaseException) -> str:
    """The reason of a runner's error: runners wrap a worker's error in its whole traceback."""
    lines = _lines(str(error), error)
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Stopped)\b", line)]
    reason = re.sub(r"\s*\[while running .*", "", errors[-1] if errors else lines[0])
    return re.sub(r"^tb_deepexplain\.errors\.\w+: ", "", reason)


def _lines(text: str, error: BaseException) -> list[str]:
    """The lines of a message that are not empty; the type of the error if there are none."""
    return [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
