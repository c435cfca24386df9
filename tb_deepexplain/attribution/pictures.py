"""Pictures of Pillow as arrays with the channels of a model's input, as Keras loads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tb_deepexplain.attribution.array_likes import package
from tb_deepexplain.errors import InputError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels → mode


def is_picture(value: Any) -> bool:
    """Whether it is a picture of Pillow."""
    return package(value) == "PIL" and hasattr(value, "getbands")


def read_pictures(axes: Sequence[int | None], pictures: Sequence[Any], name: str) -> np.ndarray:
    """`[N, H, W, C]`, or with the channels first or missing, like the input whose examples have these axes; not scaled.

    InputError if the model takes no pictures, or pictures of another size.
    """
    if len(axes) not in (2, 3):
        raise InputError(f"{name}: got pictures, which have the axes [N, H, W, C]")
    channels_first = len(axes) == 3 and axes[0] in _MODES and axes[2] not in _MODES
    channels = 1 if len(axes) == 2 else axes[0] if channels_first else axes[2]
    size = axes[1:] if channels_first else axes[:2]
    arrays = []
    for picture in pictures:
        actual = (picture.height, picture.width)
        if any(e not in (None, a) for e, a in zip(size, actual, strict=True)):
            height, width = (e or a for e, a in zip(size, actual, strict=True))
            raise InputError(
                f"{name}: got a picture of {actual[1]} × {actual[0]} (width × height); resize it as the training did, such as "
                f"picture.resize(({width}, {height}))"
            )
        arrays.append(_as_array(picture, channels if channels in _MODES else 3))
    if len({array.shape for array in arrays}) > 1:
        raise InputError(f"{name}: got pictures of different sizes; resize them to one, or explain each size by itself")
    stacked = np.stack(arrays)
    if len(axes) == 2:
        return stacked[..., 0]
    return np.moveaxis(stacked, -1, 1) if channels_first else stacked


def _as_array(picture: Any, channels: int) -> np.ndarray:
    """`[H, W, C]`"""
    keeps_mode = channels == 1 and picture.mode in ("I", "I;16", "F")  # more than 8 bits
    converted = picture if keeps_mode or picture.mode == _MODES[channels] else picture.convert(_MODES[channels])
    array = np.asarray(converted)
    return array[..., None] if channels == 1 else array
