"""Localisation: do the largest attributions lie on the object?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tb_deepexplain.errors import InputError


class Localisation(NamedTuple):
    """Localisation of N maps; NaN if the mask is empty, or the map is constant, holds NaN or has nothing positive."""

    pointing: np.ndarray  # [N] 1 if the largest attribution lies in the mask; of several largest, the share that does
    # [N] intersection over union of the mask and as many of the largest attributions; ties count in part
    iou: np.ndarray
    mass: np.ndarray  # [N] share of the positive attributions that lies in the mask


def localise(maps: np.ndarray, masks: np.ndarray) -> Localisation:
    """Compare maps `[N, H, W]` or `[N, H, W, C]`, whose channels are summed, with masks `[N, H, W]` of the object.

    Pointing game: Zhang et al. 2016 (arXiv 1608.00507). Share of the mass: Arras, Osman, Samek 2022 (arXiv 2003.07258). Raises
    InputError if the shapes differ.
    """
    maps, masks = np.asarray(maps, np.float64), np.asarray(masks).astype(bool)
    maps = maps.sum(-1) if maps.ndim == masks.ndim + 1 else maps
    if maps.shape != masks.shape:
        raise InputError(f"masks: got shape {masks.shape}; expected {maps.shape}, a mask for each map")
    maps, masks = maps.reshape(len(maps), -1), masks.reshape(len(masks), -1)
    size, positive = masks.sum(1), np.maximum(maps, 0)
    defined = (size > 0) & positive.any(1) & np.isfinite(maps).all(1) & (np.ptp(maps, 1) > 0)
    intersection = (_largest(maps, size) * masks).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Localisation(
            np.where(defined, (_largest(maps, np.ones_like(size)) * masks).sum(1), np.nan),
            np.where(defined, intersection / (2 * size - intersection), np.nan),
            np.where(defined, (positive * masks).sum(1) / positive.sum(1), np.nan),
        )


def _largest(maps: np.ndarray, count: np.ndarray) -> np.ndarray:
    """How much each value belongs to the `count` `[N]` largest of its map, `[N, P]`: 1, 0, or a fraction for ties at the limit."""
    smallest = np.take_along_axis(-np.sort(-maps, 1), np.maximum(count - 1, 0)[:, None], 1)
    above, equal = maps > smallest, maps == smallest
    with np.errstate(invalid="ignore", divide="ignore"):
        return above + equal * ((count - above.sum(1)) / equal.sum(1))[:, None]
