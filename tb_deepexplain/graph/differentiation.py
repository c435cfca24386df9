"""TensorFlow's gradients, with its errors as sentences for users of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import UnsupportedModelError
from tb_deepexplain.lazy_tensorflow import tf

WITHOUT_GRADIENT = "occlusion or shapley_sampling, which need no gradient"
# TensorFlow's message for an op without a gradient; the graph is imported as model, model_1, ...
_LOOKUP_ERROR = re.compile(r"operation\s*'(?:model(?:_\d+)?/)?([^']*)' \(op type: (\w+)\)")


def differentiate(y: Any, xs: Sequence[Any]) -> list[Any]:
    """∂y/∂x for each x; None where no gradient reaches it. Raises UnsupportedModelError where TensorFlow cannot differentiate."""
    try:
        # tf.gradients, not a tape: a tape does not see the ops of an imported graph.
        return list(tf.gradients(y, xs))
    except (
        LookupError,
        NotImplementedError,  # of an op or a gradient written by the user that has none
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # perhaps of a user's gradient
        match = _LOOKUP_ERROR.search(str(error))
        reason = (
            f"TensorFlow has no gradient for {match[1]} ({match[2]})"
            if match
            else f"TensorFlow cannot differentiate the model: {model_error_text(error)}"
        )
        raise UnsupportedModelError(
            f"{reason}. Use {WITHOUT_GRADIENT}; or explain what follows it: inputs=..."
        ) from error


def is_differentiable(y: Any, xs: Sequence[Any]) -> bool:
    """Whether a gradient of y reaches every x; both in the graph that is being traced."""
    try:
        return None not in differentiate(y, xs)
    except UnsupportedModelError:
        return False
