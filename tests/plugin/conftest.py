"""A logdir with real stores and marker events, served by TensorBoard's WSGI application in this process."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.data_ingester import _parse_event_files_spec
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


def serve(logdir: Path | None, flag: str | None = None, prefix: str = "", specification: str = "") -> Client:
    """A client of the plugin as TensorBoard would serve it for `--logdir flag`, or for `--logdir_spec specification`."""
    flags = Namespace(logdir="" if logdir is None else str(logdir), logdir_spec=specification)
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    for path, name in ({flags.logdir: None} if logdir else _parse_event_files_spec(specification)).items():
        multiplexer.AddRunsFromDirectory(path, name)
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, flags.logdir or specification)
    # As under fast loading: there is no multiplexer to lean on.
    context = base_plugin.TBContext(
        data_provider=provider, flags=flags, logdir=flags.logdir if flag is None else flag, multiplexer=None
    )
    plugin = DeepExplainLoader().load(context)
    return Client(application.TensorBoardWSGI([plugin], path_prefix=prefix, data_provider=provider))


@pytest.fixture
def served() -> Callable[..., Client]:
    return serve


@pytest.fixture(scope="session")
def client(logdir: Path) -> Client:
    return serve(logdir)
