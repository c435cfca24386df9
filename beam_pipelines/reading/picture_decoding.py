"""Decodes and resizes an encoded picture as Keras' loaders do.

`keras.utils.image_dataset_from_directory` and `load_img` ignore the orientation in a picture's EXIF data, and so does this file;
the store keeps pictures without it (`media_types.without_orientation`), so that model, map and page have the same sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from beam_pipelines.reading.record_spec import RESIZE_METHODS, RecordSpec
from tb_deepexplain.error_text import describe_failure
from tb_deepexplain.errors import InputError
from tb_deepexplain.store.media_types import picture_sides

MOST_PIXELS = 1 << 27  # of a picture that is decoded; a few bytes may claim any number


def decode_picture(encoded: bytes, spec: Any, record_spec: RecordSpec) -> tuple[np.ndarray, bool]:
    """(a PNG, JPEG, GIF or BMP as float32 [height, width, channels] in 0..255, whether it was resized).

    It is resized as the `record_spec` says. Raises InputError if it cannot be decoded, or does not fit the model's input `spec`
    (an InputSpec).
    """
    if len(spec.shape) != 4:
        raise InputError(
            f"the feature for the model's input {spec} holds 1 bytes value; "
            "expected numbers, or one PNG or JPEG for an input [?, height, width, channels]"
        )
    height, width, channels = spec.shape[1:]
    sides = picture_sides(encoded)
    if sides and sides[0] * sides[1] > MOST_PIXELS:
        raise InputError(
            f"its picture for {spec} has {sides[0]:,} × {sides[1]:,} pixels; at most {MOST_PIXELS:,} are decoded: reduce it"
        )
    resize = record_spec.resize
    try:
        picture = tf.io.decode_image(encoded, channels if channels in (1, 3, 4) else 0, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f"its picture for {spec} cannot be decoded: {describe_failure(error)[1]}") from error
    size = height or picture.shape[0], width or picture.shape[1]
    resized = resize is not None and size != picture.shape[:2]
    if resize is not None and resized:
        method, antialias = RESIZE_METHODS[resize]
        picture = tf.image.resize(picture, size, method, antialias=antialias).numpy()
    if any(n not in (None, actual) for n, actual in zip(spec.shape[1:], picture.shape, strict=True)):
        sizes = "×".join(map(str, picture.shape))
        advice = "convert its channels"
        if channels in (None, picture.shape[2]):
            advice = f"give {record_spec.option('resize', 'True')}, or resize it as in training"
        raise InputError(f"its picture is {sizes} (height×width×channels), but the model's input is {spec}; {advice}")
    return picture.astype(np.float32), resized
