"""Takes the README's pictures anew: `make demo` once, then `.venv/bin/python docs/images/take.py [LOGDIR]`; look at them."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import CHROMIUM  # noqa: E402
from tests.browser.tensorboard_server import Server  # noqa: E402

PICTURES = {"photos": (False, 1120), "digits": (False, 1120), "reviews": (True, 1280)}  # run: dark, width


def main(logdir: Path) -> None:
    server = Server(logdir)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            for run, (dark, width) in PICTURES.items():
                page = browser.new_page(viewport={"width": width, "height": 800})
                page.goto(f"{server.address}/?darkMode={str(dark).lower()}#deepexplain&p.deepexplain.run={run}")
                ready = ".row:nth-child(2) .cell.map, .row:nth-child(2) .text"
                page.frame_locator("iframe").locator(ready).first.wait_for(timeout=60_000)
                page.wait_for_timeout(2000)
                path = ROOT / "docs" / "images" / f"{run}.png"
                page.screenshot(path=path)
                Image.open(path).convert("RGB").save(path, optimize=True)  # all colours kept: they mean something
                page.close()
            browser.close()
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "demo_logdir")
