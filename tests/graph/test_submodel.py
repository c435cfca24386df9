"""The part of a model that is explained: outputs without a gradient or a batch axis, and repeated tracing."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tb_deepexplain as dx


def test_the_step_that_blocks_the_gradient_is_named() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def rounded(x: Any) -> Any:
        return tf.cast(tf.argmax(x, 1), tf.float32)

    with pytest.raises(dx.UnsupportedModelError, match=r"no gradient reaches .* ArgMax \(ArgMax\)"):
        dx.explain("saliency", rounded, np.ones((2, 3), np.float32))
    assert dx.explain("occlusion", rounded, np.ones((2, 3), np.float32)).shape == (2, 3)


def test_an_output_needs_the_batch_as_first_axis() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def summed(x: Any) -> Any:
        return tf.reduce_sum(x)

    with pytest.raises(dx.UnsupportedModelError, match="one number for all examples"):
        dx.explain("saliency", summed, np.ones((2, 3), np.float32))


def test_many_models_in_a_process_cause_no_retracing_warning(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    for width in range(3, 12):
        spec = [tf.TensorSpec([None, width])]
        explainer = dx.Explainer("saliency", tf.function(lambda x: tf.reduce_sum(x**2, 1), input_signature=spec))
        explainer.predict(np.ones((2, width)))
        explainer.run(np.ones((3, width)))
    logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text
