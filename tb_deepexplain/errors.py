"""The errors this package raises; every message says what came, what was expected and what to do.

DeepExplainError
├── UnknownMethodError      (also a ValueError)
├── ParameterError          (also a ValueError)
├── InputError              (also a ValueError)
├── UnsupportedModelError
└── StoreError
"""

import re


class DeepExplainError(Exception):
    """Base of every error raised on purpose by this package."""


class UnknownMethodError(DeepExplainError, ValueError):
    """A method id or alias that is not in the table."""


class ParameterError(DeepExplainError, ValueError):
    """A parameter that the method does not have, or a value outside its bounds."""


class InputError(DeepExplainError, ValueError):
    """Examples, weights, targets or baselines that do not fit the model."""


class UnsupportedModelError(DeepExplainError):
    """A model that cannot be loaded, or that a method cannot treat correctly."""


class StoreError(DeepExplainError):
    """An attribution store that cannot be read or written."""


class Stopped(Exception):
    """No error: whoever waited for an answer no longer wants it."""


def first_line(error: BaseException) -> str:
    """The sentence that matters of another library's message, which may be a page long."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exception encountered when calling")] or lines
    told = [line for line in lines if re.match(r"(\w+Error|Exception encountered): ", line)] or lines
    text = (told or [type(error).__name__])[0].removeprefix("Exception encountered: ")
    return re.split(r"\.\s", text)[0].removesuffix(".")[:300]
