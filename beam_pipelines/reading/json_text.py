"""JSON of records: what Python's parser refuses, in words that say what to change."""

from __future__ import annotations

import json
import sys
from typing import Any


def parse_json(text: str) -> Any:
    """The value of a JSON text. ValueError, which says why, for one that is none or that cannot be held."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from None
    except RecursionError:
        raise ValueError("not JSON that can be read (its lists and objects lie too deep within each other)") from None
    except ValueError:  # of int
        digits = sys.get_int_max_str_digits()
        raise ValueError(f"not JSON that can be read (a whole number has more than {digits:,} digits)") from None
