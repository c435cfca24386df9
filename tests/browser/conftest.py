"""A real TensorBoard on fixture stores, and a real Chromium; a test fails on any error or policy violation of its page."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, expect, sync_playwright

from tb_deepexplain.store.layout import MANIFEST
from tb_deepexplain.store.marker import write_marker
from tests.browser.tensorboard_server import Server
from tests.plugin import stores

_TIMEOUT_MS = 30_000  # a bound for a busy machine
expect.set_options(timeout=_TIMEOUT_MS)

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
]  # fmt: skip
_WATCH = """
addEventListener('securitypolicyviolation', (e) => console.error('policy violation', e.violatedDirective, e.blockedURI));
"""


@pytest.fixture(scope="session")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("logdir")
    stores.write_image_store(directory)
    stores.write_text_store(directory)
    stores.write_signal_store(directory)
    stores.write_customer_store(directory, "subscribers")
    stores.write_mixed_store(directory)
    stores.write_steps_store(directory)
    stores.write_steps_store(directory, "stronger", strength=3)
    write_troubled_stores(directory)
    return directory


def write_troubled_stores(logdir: Path) -> None:
    """Stores of a newer format, without a commit, and with a damaged shard."""
    newer = stores.write_text_store(logdir, "x-newer")
    manifest = json.loads((newer / MANIFEST).read_text())
    (newer / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}))
    write_marker(logdir, "x-unfinished", "attributions")
    damaged = stores.write_image_store(logdir, "x-damaged", count=24)
    shard = damaged / "attributions-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-2000])


@pytest.fixture(scope="session")
def serve(logdir: Path) -> Iterator[Callable[..., str]]:
    """The address of a TensorBoard with these flags, started on first use."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def address(*flags: str) -> str:
            server = Server(logdir, *flags)
            stack.callback(server.stop)
            return server.address

        yield address


@pytest.fixture(scope="session")
def server(serve: Callable[..., str]) -> str:
    return serve("--load_fast", "true")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A browser tab; the test fails on errors in its console, except those that contain `tab.expected`.

    Two errors are TensorBoard's: it has no icon for a plugin's page that is opened alone, and it requests its font without
    the path prefix where Roboto is not installed.
    """
    context = browser.new_context(viewport={"width": 1360, "height": 900}, color_scheme="light", accept_downloads=True)
    context.add_init_script(_WATCH)
    context.set_default_timeout(_TIMEOUT_MS)
    page = context.new_page()
    errors: list[str] = []

    def record(message: ConsoleMessage) -> None:
        url = message.location["url"]
        if message.type == "error" and not url.endswith("/favicon.ico") and "/font-roboto/" not in url:
            errors.append(f"{message.text} {url}")

    page.on("console", record)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on(
        "requestfailed",
        lambda r: errors.append(f"{r.url} {r.failure}") if "ABORTED" not in (r.failure or "") else None,
    )
    page.expected = None  # type: ignore[attr-defined]
    yield page
    page.unroute_all(behavior="wait")  # a delayed answer would fail the next test
    context.close()
    expected = page.expected  # type: ignore[attr-defined]
    assert [error for error in errors if expected is None or expected not in error] == []


@pytest.fixture
def visit(tab: Page) -> Callable[..., Frame]:
    """Open the plugin at a view; returns its frame when rows are shown."""

    def go(address: str, run: str, *keys: str, wait: str = "[role=row]:nth-child(2) .Caption_caption") -> Frame:
        state = "".join(f"&p.deepexplain.{key}" for key in (f"run={run}", "store=attributions", *keys))
        tab.goto("about:blank")
        tab.goto(f"{address}/#deepexplain{state}")
        tab.frame_locator("iframe").locator(wait).first.wait_for()
        return next(f for f in tab.frames if "plugin_entry" in f.url)

    return go
