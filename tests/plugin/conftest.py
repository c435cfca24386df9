"""A logdir with real stores and marker events, served by TensorBoard's WSGI application in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from werkzeug.test import Client

from tb_deepexplain.plugin import DeepExplainLoader
from tests.plugin import stores

ROOT = "/data/plugin/deepexplain"


@pytest.fixture(scope="session")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores that no test changes."""
    directory = tmp_path_factory.mktemp("logdir")
    stores.write_image_store(directory)
    stores.write_text_store(directory)
    stores.write_tabular_store(directory)
    return directory


def serve(logdir: Path, flag: str | None = None, prefix: str = "") -> Client:
    """A client of the plugin as TensorBoard would serve it for `--logdir flag`."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    # As under fast loading: there is no multiplexer to lean on.
    context = base_plugin.TBContext(
        data_provider=provider, logdir=str(logdir) if flag is None else flag, multiplexer=None
    )
    plugin = DeepExplainLoader().load(context)
    return Client(application.TensorBoardWSGI([plugin], path_prefix=prefix, data_provider=provider))


@pytest.fixture
def served() -> Callable[..., Client]:
    return serve


@pytest.fixture(scope="session")
def client(logdir: Path) -> Client:
    return serve(logdir)
