"""A folder's docstring is its table of contents: it names every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

TABLES = {"tb_deepexplain/attribution/methods", "tb_deepexplain/evaluation/measures", "beam_pipelines/reading/formats"}
PACKAGES = {
    path.parent.relative_to(ROOT).as_posix(): path
    for package in ("tb_deepexplain", "beam_pipelines", "benchmarks", "examples")
    for path in (ROOT / package).rglob("__init__.py")
}


@pytest.mark.parametrize(
    "folder", sorted(PACKAGES.keys() - TABLES - {"tb_deepexplain"})
)  # docs/architecture.md has its files
def test_a_folders_docstring_names_its_files(folder: str) -> None:
    docstring = ast.get_docstring(ast.parse(PACKAGES[folder].read_text(encoding="utf-8"))) or ""
    files = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    assert not {name for name in files if name not in docstring}


def test_the_architecture_names_the_files_and_folders_of_the_library() -> None:
    text = Path(ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "tb_deepexplain").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not {name for name in names - {"__init__.py", "_version.py", "__pycache__"} if name not in text}
