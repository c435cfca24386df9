"""Skipped where TFX is missing and the other tests here cannot run."""

import pytest


def test_tfx_is_installed() -> None:
    pytest.importorskip("tfx", reason="make test-tfx installs TFX in a separate environment and runs tests/tfx there")
