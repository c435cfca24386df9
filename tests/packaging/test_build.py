"""The BUILD files follow from the imports."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bazel import builds


def test_the_build_files_match_the_imports() -> None:
    assert builds.differences() == [], "python -m bazel.builds --write updates them"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (*builds.SOURCES, "tests"):
        shutil.copytree(
            builds.ROOT / name,
            tmp_path / name,
            ignore=lambda _, names: [n for n in names if Path(n).suffix not in ("", ".py")],
        )
    assert builds.differences(tmp_path) == []
    return tmp_path


def test_differences_are_named(tree: Path) -> None:
    file = tree / "tb_deepexplain" / "stats" / "rank_correlation.py"
    file.write_text(f"import tb_deepexplain.plugin.routes\n{file.read_text()}")
    (tree / "tests" / "plugin" / "BUILD").unlink()
    (tree / "beam_pipelines" / "engine" / "deeper").mkdir()
    (tree / "beam_pipelines" / "engine" / "deeper" / "BUILD").write_text("")
    assert sorted(builds.differences(tree)) == [
        "beam_pipelines/engine/deeper/BUILD: no package needs it",
        "tb_deepexplain/stats/BUILD: not as the imports demand",
        "tests/plugin/BUILD: missing",
    ]
    builds.write(tree)
    assert builds.differences(tree) == []


def test_a_package_is_one_target() -> None:
    text = builds.text("tb_deepexplain/attribution")
    assert 'srcs = glob(["**/*.py"])' in text
    assert text.count("py_library(") == 1
    assert '"//tb_deepexplain/graph"' in text


def test_tests_depend_on_what_pytest_imports_for_them() -> None:
    for test in builds.FAST:
        text = builds.text(Path(test).parent.as_posix())
        assert text[text.index("py_test(") :].count('"//tests",') == text.count("py_test(")
    assert '":plugin"' in builds.text("tests/plugin")
    assert '"//tests"' in builds.text("tests/plugin")
