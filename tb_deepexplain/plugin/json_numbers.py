"""Numbers as JSON can hold them."""

from __future__ import annotations

import math
from typing import Any


def json_number(value: Any) -> Any:
    """The value; None for a float that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
