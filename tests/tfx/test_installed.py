"""What is said where the other tests here cannot run."""

import pytest


def test_tfx_is_installed() -> None:
    pytest.importorskip(
        "tfx", reason="make test-tfx installs TFX in an environment of its own, and runs tests/tfx there"
    )
