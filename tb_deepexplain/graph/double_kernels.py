"""Ops that TensorFlow computes in float32 only, as functions of ops that have a float64 kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_CHANNELS_FIRST = ("NCHW", "NCDHW")


def replacement(node: Any) -> Callable[..., list[Any]] | None:
    """A function of a node's inputs in float64 that returns its outputs; None if there is none for its op."""
    function = _REPLACEMENTS.get(node.op)
    if function is None:
        return None
    attributes = node.attr
    return lambda *inputs: function(attributes, *inputs)


def is_opaque(node: Any) -> bool:
    """Whether no backward rule may look into the function: the node divides one tensor that depends on the input by another."""
    return node.op == "LRN" or bool(node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b)


def _batch_norm(attributes: Any, x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> list[Any]:
    data_format = attributes["data_format"].s.decode() or "NHWC"
    rank = len(data_format)
    channels = 1 if data_format in _CHANNELS_FIRST else rank - 1
    epsilon = tf.constant(attributes["epsilon"].f, tf.float64)
    batch_variance = variance
    if attributes["is_training"].b:
        axes = [axis for axis in range(rank) if axis != channels]
        mean, variance = tf.reduce_mean(x, axes), tf.math.reduce_variance(x, axes)
        count = tf.cast(tf.size(x) // tf.maximum(tf.size(mean), 1), tf.float64)
        batch_variance = variance * count / tf.maximum(count - 1, 1)

    def by_channel(values: Any) -> Any:
        return tf.reshape(values, [-1 if axis == channels else 1 for axis in range(rank)])

    factor = by_channel(tf.math.rsqrt(variance + epsilon) * scale)
    y = (x - by_channel(mean)) * factor + by_channel(offset)
    return [y, mean, batch_variance, mean, variance, tf.zeros([0], tf.float64)]


def _local_response_normalization(attributes: Any, x: Any) -> list[Any]:
    radius = attributes["depth_radius"].i
    channels = tf.shape(x)[-1]
    padded = tf.pad(tf.square(x), [[0, 0], [0, 0], [0, 0], [radius, radius]])
    total = tf.add_n([padded[..., i : i + channels] for i in range(2 * radius + 1)])
    bias, alpha, beta = (tf.constant(attributes[name].f, tf.float64) for name in ("bias", "alpha", "beta"))
    return [x * tf.pow(bias + alpha * total, -beta)]


def _resize_bilinear(attributes: Any, images: Any, size: Any) -> list[Any]:
    align, half = attributes["align_corners"].b, attributes["half_pixel_centers"].b
    images = tf.cast(images, tf.float64)
    for axis in (1, 2):
        images = _interpolate(images, axis, size[axis - 1], align, half)
    return [images]


def _interpolate(images: Any, axis: int, size: Any, align_corners: bool, half_pixel_centers: bool) -> Any:
    """The pictures with `size` values along an axis, interpolated between two each."""
    old, new = tf.cast(tf.shape(images)[axis], tf.float64), tf.cast(size, tf.float64)
    scale = tf.where(new > 1, (old - 1) / tf.maximum(new - 1, 1), old / new) if align_corners else old / new
    position = tf.cast(tf.range(size), tf.float64)
    at = (position + 0.5) * scale - 0.5 if half_pixel_centers else position * scale
    low = tf.floor(at)
    share = tf.reshape(at - low, [-1 if i == axis else 1 for i in range(4)])
    before = tf.cast(tf.maximum(low, 0), tf.int32)
    after = tf.cast(tf.minimum(low + 1, old - 1), tf.int32)
    first, second = tf.gather(images, before, axis=axis), tf.gather(images, after, axis=axis)
    return first + (second - first) * share


def _pool_3d(pool: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Pooling over depth, height and width as pooling over height and width, and then over depth; channels last."""

    def compute(attributes: Any, x: Any) -> list[Any]:
        window, strides = list(attributes["ksize"].list.i), list(attributes["strides"].list.i)
        padding = attributes["padding"].s.decode()
        sizes = tf.shape(x)
        depth, channels = sizes[1], sizes[4]
        y = pool(tf.reshape(x, [-1, sizes[2], sizes[3], channels]), window[2:4], strides[2:4], padding)
        height, width = tf.shape(y)[1], tf.shape(y)[2]
        y = pool(tf.reshape(y, [-1, depth, height * width, channels]), [window[1], 1], [strides[1], 1], padding)
        return [tf.reshape(y, [-1, tf.shape(y)[1], height, width, channels])]

    return compute


_REPLACEMENTS: dict[str, Callable[..., list[Any]]] = {
    "FusedBatchNorm": lambda *arguments: _batch_norm(*arguments)[:5],
    "FusedBatchNormV2": lambda *arguments: _batch_norm(*arguments)[:5],
    "FusedBatchNormV3": _batch_norm,
    "LRN": _local_response_normalization,
    "ResizeBilinear": _resize_bilinear,
    "MaxPool3D": _pool_3d(tf.nn.max_pool2d),
    "AvgPool3D": _pool_3d(tf.nn.avg_pool2d),
}
