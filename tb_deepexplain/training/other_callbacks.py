"""The callbacks beside AttributionCallback in the same training."""

from __future__ import annotations

import inspect
from typing import Any

import keras


def restores_weights_after(callback: keras.callbacks.Callback) -> bool:
    """Whether an EarlyStopping that restores the best weights comes after `callback`, when `fit` calls it."""
    callbacks = _callbacks_of_fit()
    later = callbacks[callbacks.index(callback) + 1 :] if callback in callbacks else []
    return any(isinstance(c, keras.callbacks.EarlyStopping) and c.restore_best_weights for c in later)


def _callbacks_of_fit() -> list[Any]:
    """All callbacks in their order; Keras tells a callback of no other, so they are read from the frame that called it."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            return list(caller.callbacks)
        frame = frame.f_back
    return []
