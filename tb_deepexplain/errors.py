"""The errors this package raises; every message says what came, what was expected and what to do.

DeepExplainError
├── UnknownMethodError      (also a ValueError)
├── ParameterError          (also a ValueError)
├── InputError              (also a ValueError)
├── UnsupportedModelError
├── OutOfMemoryError        (also a MemoryError)
└── StoreError
"""


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


class OutOfMemoryError(DeepExplainError, MemoryError):
    """A model or an example that does not fit into the memory of the device."""


class StoreError(DeepExplainError):
    """An attribution store that cannot be read or written."""


class Stopped(Exception):
    """Not an error: the answer is no longer needed."""
