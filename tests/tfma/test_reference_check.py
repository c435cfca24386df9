"""How a store was explained, compared with how an evaluation explains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from beam_pipelines.tfma import reference_check
from tb_deepexplain.errors import ParameterError
from tb_deepexplain.recording.manifest import describe_methods
from tb_deepexplain.recording.request import Request, make_request

OPTIONS = {"reference": "span-1", "method": None, "pool": None, "regions": 4}


def occlusion(baseline: Any) -> Request:
    return make_request("model", {"occlusion": {"baseline": baseline}})


def check(monkeypatch: pytest.MonkeyPatch, stored: Request, request: Request) -> None:
    manifest = {"methods": describe_methods(stored), "target": str(stored.target), "model": {"inputs": None}}
    monkeypatch.setattr(
        reference_check, "Store", lambda directory: SimpleNamespace(directory=directory, manifest=manifest)
    )
    reference_check.check_reference(OPTIONS, request, None, 4, False)


def test_baselines_are_compared_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the rounding of float32 and to axes of length 1: a store's are arrays, an EvalConfig's are numbers."""
    stored = occlusion({"age": np.float32([29.1]), "plan": "gold", "fare": 0.1})
    check(monkeypatch, stored, occlusion({"age": 29.1, "plan": "gold", "fare": np.float32(0.1)}))
    with pytest.raises(ParameterError) as raised:
        check(monkeypatch, stored, occlusion({"age": 29.2, "plan": "silver", "fare": 0.1}))
    assert "baseline.age is [29.1" in str(raised.value) and "29.2 here" in str(raised.value)
    assert 'baseline.plan is "gold" there and "silver" here' in str(raised.value)
    assert "fare" not in str(raised.value)


def test_a_long_baseline_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match=r"baseline is \{.{56}\.\.\. there and null here"):
        check(monkeypatch, occlusion({f"column_{i}": float(i) for i in range(30)}), occlusion(None))
