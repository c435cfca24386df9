"""Errors of Keras, TensorFlow and Beam's runners in one line."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tb_deepexplain.error_text import describe_failure, model_error_text, runner_error_text
from tb_deepexplain.errors import InputError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("it has\n no feature x"), ("InputError", "it has no feature x")),
        (ValueError("too small\nsee above"), ("ValueError", "too small")),
        (KeyError(), ("KeyError", "no message")),
        (
            tf.errors.InvalidArgumentError(
                None,
                None,
                "Graph execution error:\n\nDetected at node Cast\n{{function_node f}} no id 7\n\t [[{{node Gather}}]]",
            ),
            ("InvalidArgumentError", "no id 7"),
        ),
    ],
)
def test_the_failure_of_an_example_is_its_type_and_reason(error: Exception, expected: tuple[str, str]) -> None:
    assert describe_failure(error) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Exception encountered when calling Dense.call().\n\n\x1b[1mShapeError: 3 is not 4. Arguments: x\x1b[0m",
            "ShapeError: 3 is not 4",
        ),
        ("no layer Own.\nA page follows", "no layer Own"),
        ("", "OSError"),
    ],
)
def test_the_error_of_a_model_is_one_sentence(message: str, expected: str) -> None:
    assert model_error_text(OSError(message)) == expected


def test_the_error_of_a_runner_is_the_last_of_its_traceback() -> None:
    traceback = (
        "Traceback (most recent call last):\n  File x\nValueError: first\n\nDuring handling:\n"
        "tb_deepexplain.errors.StoreError: the disk is full [while running 'Explain']\n"
    )
    assert runner_error_text(RuntimeError(traceback)) == "the disk is full"
