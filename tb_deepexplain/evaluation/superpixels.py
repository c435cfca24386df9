"""Superpixels: parts of a picture that are removed together, in place of single pixels."""

from __future__ import annotations

import numpy as np

from tb_deepexplain.errors import InputError, ParameterError


def superpixels(images: np.ndarray, count: int = 50) -> np.ndarray:
    """The number, from 0, of the superpixel of each pixel: `[N, H, W]` for `images` `[N, H, W, C]`; about `count` per picture.

    For the `segments` of `Evaluator.run`. SLIC, Achanta et al. 2012 (doi 10.1109/TPAMI.2012.120), by scikit-image, on each picture
    scaled to the range 0 to 1. Raises InputError, or ParameterError if scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ParameterError("superpixels need scikit-image: pip install scikit-image") from error
    images = np.asarray(images)
    if images.ndim != 4:
        raise InputError(f"superpixels: got shape {images.shape}; expected pictures [N, height, width, channels]")
    segments = []
    for image in images.astype(np.float64):
        low, high = image.min(), image.max()
        scaled = (image - low) / (high - low) if high > low else np.zeros_like(image)
        labels = slic(
            scaled, n_segments=count, compactness=0.1 if image.shape[2] != 3 else 10, start_label=0, channel_axis=2
        )
        segments.append(np.unique(labels, return_inverse=True)[1].reshape(labels.shape))
    return np.stack(segments).astype(np.int32) if segments else np.zeros(images.shape[:3], np.int32)
