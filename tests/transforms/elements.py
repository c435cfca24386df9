"""Elements for the transforms' tests: pictures for the 8×8×3 model, and a local pipeline."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

RNG = np.random.default_rng(0)
PICTURES = RNG.random((40, 8, 8, 3)).astype(np.float32)
METHODS = {"gradient_x_input": {}, "occlusion": {"window_shape": (4, 4, 3), "step": 4}}


def make_pipeline() -> beam.Pipeline:
    return beam.Pipeline(runner=FnApiRunner())


def make_elements() -> list[Any]:
    return [(f"p{i:02}", {"image": picture, "label": i % 3}) for i, picture in enumerate(PICTURES)]
