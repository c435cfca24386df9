"""Numbers as JSON can say them: what is missing or not finite becomes null."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def finite(numbers: np.ndarray) -> list[float | None]:
    return [number(n) for n in numbers.tolist()]


def units(numbers: np.ndarray) -> list[int | None]:
    """Output units; -1 stands for none."""
    return [None if n < 0 else n for n in numbers.tolist()]
