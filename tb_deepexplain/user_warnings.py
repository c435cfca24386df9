"""UserWarnings that Python shows at the line of the caller's own code."""

from __future__ import annotations

import sys
import warnings

_NOT_THE_CALLER = ("tb_deepexplain", "beam_pipelines", "keras", "tf_keras", "tensorflow")


def warn(text: str) -> None:
    """A UserWarning at the innermost line outside of this package and of Keras, which calls a callback."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_CALLER:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
