"""Takes the README's pictures: `make demo` once, then `.venv/bin/python docs/images/take.py [LOGDIR]`; look at them."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tb_deepexplain.store.reader import Store  # noqa: E402
from tests.browser.conftest import CHROMIUM  # noqa: E402
from tests.browser.tensorboard_server import Server  # noqa: E402

MAP = "canvas, .TextMap_text"
PICTURES = {  # file name → run and further keys of the address, element to wait for, dark theme, width and height
    "photos": ("photos", MAP, False, (1120, 800)),
    "digits": ("digits", MAP, False, (1120, 800)),
    "reviews": ("reviews", MAP, True, (1280, 800)),
    "passengers": ("passengers", ".TabularMap_name", False, (1280, 800)),
    "drawer": ("digits&p.deepexplain.example={first}", ".PictureMaps_plate canvas", False, (1360, 900)),
    "summary": ("digits&p.deepexplain.view=summary", ".LineChart_chart", False, (1180, 660)),
}


def first_of(logdir: Path, run: str) -> str:
    """The id of a misclassified example."""
    [directory] = (logdir / run / "plugins" / "deepexplain").iterdir()
    rows = Store(directory).index.select(["example_id", "label", "predicted"]).to_pylist()
    return next(row["example_id"] for row in rows if row["label"] != row["predicted"])


def main(logdir: Path) -> None:
    server = Server(logdir)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            for name, (shown, ready, dark, (width, height)) in PICTURES.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                state = shown.format(first=first_of(logdir, "digits"))
                page.goto(f"{server.address}/?darkMode={str(dark).lower()}#deepexplain&p.deepexplain.run={state}")
                page.frame_locator("iframe").locator(ready).first.wait_for(timeout=60_000)
                page.wait_for_timeout(2000)
                path = ROOT / "docs" / "images" / f"{name}.png"
                page.screenshot(path=path)
                Image.open(path).convert("RGB").save(path, optimize=True)  # all colours kept: they mean something
                page.close()
            browser.close()
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "demo_logdir")
