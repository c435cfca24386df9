"""The examples leave nothing for git to see."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = [
    (path.name, folder)
    for path in sorted((ROOT / "examples").glob("*.py"))
    for folder in re.findall(r"default=(?:Path\()?\"([^\"]+)\"\)?, help=\"folder", path.read_text("utf-8"))
]


def test_an_example_has_a_folder() -> None:
    assert FOLDERS


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
@pytest.mark.parametrize(("example", "folder"), FOLDERS)
def test_the_folder_of_an_example_is_ignored_by_git(example: str, folder: str) -> None:
    assert subprocess.run(["git", "check-ignore", "--quiet", f"{folder}/data"], cwd=ROOT).returncode == 0
