"""The BUILD files say what the code imports, no more and no less."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bazel import builds


def test_the_build_files_are_as_the_imports_are() -> None:
    assert builds.differences() == [], "python -m bazel.builds --write writes them anew"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (*builds.ROOTS, "tests"):
        shutil.copytree(
            builds.ROOT / name,
            tmp_path / name,
            ignore=lambda _, names: [n for n in names if Path(n).suffix not in ("", ".py")],
        )
    assert builds.differences(tmp_path) == []
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_lacks_and_what_is_too_much_is_named(tree: Path) -> None:
    edit(tree / "tb_deepexplain" / "plugin" / "BUILD", '        "//tb_deepexplain/stats",\n', "")
    edit(tree / "tests" / "plugin" / "BUILD", '"//tb_deepexplain/plugin"', '"//beam_pipelines/cli"')
    (tree / "beam_pipelines" / "newest.py").write_text("def f():\n    from tb_deepexplain import storage\n")
    edit(
        tree / "tb_deepexplain" / "stats" / "rank_correlation.py",
        "import numpy",
        "import beam_pipelines.newest\nimport numpy",
    )
    found = builds.differences(tree)
    assert "//beam_pipelines:newest is not there: it has beam_pipelines/newest.py" in found
    assert "//tb_deepexplain/stats lacks //beam_pipelines:newest among its deps" in found
    assert "//tb_deepexplain/plugin lacks //tb_deepexplain/stats among its deps" in found
    assert any(line.endswith("has //beam_pipelines/cli among its deps, which it does not use") for line in found)
    assert any(line.endswith("lacks //tb_deepexplain/plugin among its deps") for line in found)
    builds.write(tree)
    assert builds.differences(tree) == []


def test_tests_depend_on_what_pytest_reads_for_them() -> None:
    assert "//tests/plugin:conftest" in builds.wanted()["//tests/plugin:test_filters"].deps
