"""Everything here needs TFX, which has an environment of its own: `make test-tfx`."""

from __future__ import annotations

import importlib.util

import pytest

WHY = "TFX is not installed here; make test-tfx installs it in an environment of its own, and runs these tests"
collect_ignore_glob = [] if importlib.util.find_spec("tfx") else ["test_*.py"]


def pytest_collection_finish(session: pytest.Session) -> None:
    """One line that says so, instead of tests that nobody sees are not there."""
    if collect_ignore_glob and (reporter := session.config.pluginmanager.get_plugin("terminalreporter")):
        reporter.write_line(f"tests/tfx: {WHY}")
