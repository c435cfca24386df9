"""Numbers as JSON can say them: what is missing or not finite becomes null."""

from __future__ import annotations

import math
from typing import Any


def number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
