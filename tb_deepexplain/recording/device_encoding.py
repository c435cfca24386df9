"""Encodes maps where they were computed, so that float16 values and a few numbers come back in place of float32 maps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_deepexplain.attribution.compiled_method import EncodedMaps
from tb_deepexplain.store.map_encoding import FLOAT16_REACH, QUANTILES, EncodedMap, floats_or_none

_SMALLEST_NORMAL = 0x00800000  # the bits of float32's smallest normal number


def encode_on_device(order: Sequence[int], maps: Sequence[Any]) -> EncodedMaps:
    """Maps of N examples as rows of the store have them, with the statistics of `encode_maps`; in `maps` `[N, ...]`, a tensor for each
    input, the inputs stand in this `order`.

    Maps that the store keeps as float32, or that are not finite, come back as they are; so do those with denormal values, which devices
    take for zeros.
    """
    tensors = [tf.convert_to_tensor(maps[i]) for i in order]
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
    n, flat = len(tensors[0]), [tf.reshape(t, [len(t), math.prod(s)]) for t, s in zip(tensors, shapes, strict=True)]
    values = flat[0] if len(flat) == 1 else tf.concat(flat, 1)
    count = values.shape[1]
    shape = list(shapes[0]) if len(shapes) == 1 else [count]
    halves, numbers = (t.numpy() for t in _encode(values, max(1, round(count / 100)), *_positions(count)))
    is_finite, is_zero, has_halves, sums, scale, *shown = numbers
    rows = np.empty(n, object)
    halves, columns = halves.astype("<f2", copy=False), list(map(floats_or_none, shown))
    encoded = zip(halves, scale.tolist(), zip(*columns, strict=True), strict=True)
    for i, (row, factor, statistics) in enumerate(encoded):
        rows[i] = EncodedMap(row.tobytes(), factor, shape, statistics)
    if not has_halves.all():
        others = np.flatnonzero(has_halves == 0)
        for i, row in zip(others.tolist(), tf.gather(values, others).numpy(), strict=True):
            rows[i] = row.reshape(shape)
    return EncodedMaps(shapes, rows, is_zero > 0, is_finite > 0, sums)


@functools.lru_cache(maxsize=64)
def _positions(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of QUANTILES of so many sorted magnitudes: the positions of the two beside it, and how far it lies beyond the first."""
    position = np.array(list(QUANTILES.values())) * (count - 1)
    low = position.astype(np.int32)
    return low, np.minimum(low + 1, count - 1), position - low


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([len(QUANTILES)], tf.int32),
        tf.TensorSpec([len(QUANTILES)], tf.int32),
        tf.TensorSpec([len(QUANTILES)], tf.float64),
    ],
    autograph=False,
)
def _encode(values: Any, hundredth: Any, low: Any, high: Any, share: Any) -> tuple[Any, Any]:
    """The float16 values of maps `[N, V]`, and `[11, N]`, so that one copy takes all from the device: whether they are finite, zero, and
    kept as float16; sums, scales, concentration and QUANTILES."""
    sizes = tf.abs(values)
    # Not int32, which TensorFlow computes on the host.
    bits, count = tf.bitcast(sizes, tf.uint32), tf.shape(values, tf.int64)[1]
    zeros = tf.reduce_sum(tf.cast(bits == 0, tf.int64), 1)
    is_finite = tf.reduce_all(tf.math.is_finite(values), 1)
    has_denormals = tf.reduce_any((bits > 0) & (bits < _SMALLEST_NORMAL), 1)
    ordered = tf.sort(sizes, axis=1)
    largest = ordered[:, -1]
    middle = tf.stack([zeros + (count - zeros - 1) // 2, tf.minimum(zeros + (count - zeros) // 2, count - 1)], 1)
    median = tf.reduce_mean(tf.cast(tf.gather(ordered, middle, batch_dims=1), tf.float64), 1)
    has_halves = ~(median < tf.cast(largest, tf.float64) * FLOAT16_REACH) & is_finite & ~has_denormals
    scale = tf.where(largest > 0, largest, 1)
    exact = tf.cast(ordered, tf.float64)
    concentration = tf.reduce_sum(exact[:, -hundredth:], 1) / tf.reduce_sum(exact, 1)  # 0 / 0 is NaN
    below, above = tf.gather(exact, low, axis=1), tf.gather(exact, high, axis=1)
    quantiles = tf.unstack(below + (above - below) * share, axis=1)
    sums = tf.reduce_sum(tf.cast(values, tf.float64), 1)
    numbers = [is_finite, zeros == count, has_halves, sums, scale, concentration, *quantiles]
    halves = tf.cast(values / scale[:, None], tf.float16)
    return halves, tf.stack([tf.cast(number, tf.float64) for number in numbers])
