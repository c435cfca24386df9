"""Closeness of float32 results that were computed in another order: by other batches, graphs, threads or processors.

Another order of a sum rounds differently, relative to the largest terms of the sum: a value near zero, where terms cancel, may
differ as much as a large one. So differences are compared with the largest magnitude of a map, not with each value.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_maps_close(actual: Any, expected: Any, share: float = 1e-5) -> None:
    """Assert that no value of the maps `[N, ...]` differs by more than `share` of the largest magnitude in its expected map.

    Where each example has a single value, such as a score, the N values are one map.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if expected.size == len(expected):
        assert_map_close(actual, expected, share)
        return
    assert len(actual) == len(expected)
    for values, reference in zip(actual, expected, strict=True):
        assert_map_close(values, reference, share)


def assert_map_close(actual: Any, expected: Any, share: float = 1e-5) -> None:
    """Assert that no value differs by more than `share` of the largest expected magnitude; NaN equals NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    largest = np.nanmax(np.abs(expected), initial=0)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=share * largest, err_msg=f"largest magnitude {largest:.6g}"
    )
