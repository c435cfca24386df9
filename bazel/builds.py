"""The BUILD files: one target for each package, whose deps follow from the imports.

    python -m bazel.builds            lists differences between BUILD files and imports; status 1 if there are any
    python -m bazel.builds --write    writes the BUILD files

A package is a folder below `tb_deepexplain` or `beam_pipelines`, with all its subfolders, or the modules directly in one of
these two, in `examples` or in a folder of tests. FAST lists the tests that Bazel runs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("tb_deepexplain", "beam_pipelines", "examples")
FAST = (
    "tests/graph/loading/test_example_signatures.py",
    "tests/plugin/test_filters.py",
    "tests/plugin/test_orders.py",
    "tests/plugin/test_pivots.py",
    "tests/tfma/test_drift.py",
)
TEST_FOLDERS = ("tests", *sorted({Path(test).parent.as_posix() for test in FAST}))
BINARIES = {
    "beam_pipelines": ("attribute_command", "attribute.py"),
    "beam_pipelines/cli": ("tb-deepexplain", "main.py"),
}
DATA = {
    "tb_deepexplain/plugin": '["openapi.json"] + glob(["static/**"])',  # static: the page, where it has been built
}
_DEPLESS = "tb_deepexplain"  # its __init__ imports the packages below it lazily, and they import it


def packages(root: Path = ROOT) -> dict[str, list[Path]]:
    """The modules of each package, by its folder."""
    modules: dict[str, list[Path]] = {}
    for base in SOURCES:
        for path in sorted((root / base).rglob("*.py")):
            parts = path.relative_to(root).parts
            modules.setdefault("/".join(parts[: min(2, len(parts) - 1)]), []).append(path)
    for folder in TEST_FOLDERS:
        support = [path for path in sorted((root / folder).glob("*.py")) if not path.name.startswith("test_")]
        modules[folder] = support
    return modules


def text(folder: str, root: Path = ROOT) -> str:
    """The BUILD file of a package."""
    known = packages(root)
    deps = [] if folder == _DEPLESS else _deps(folder, known[folder], known, root)
    name = folder.rpartition("/")[2]
    tests = [test for test in FAST if Path(test).parent.as_posix() == folder]
    rules = ["py_library", *(["py_binary"] if folder in BINARIES else []), *(["py_test"] if tests else [])]
    lines = [f'load("@rules_python//python:defs.bzl", {", ".join(map(_quote, sorted(rules)))})', ""]
    lines += ['package(default_visibility = ["//visibility:public"])', ""]
    if folder in TEST_FOLDERS:
        pattern = 'glob(\n        ["*.py"],\n        exclude = ["test_*.py"],\n    )'
    else:
        pattern = f'glob(["{"**/" if "/" in folder else ""}*.py"])'
    data = [f"data = {DATA[folder]}"] if folder in DATA else []
    lines += _rule("py_library", [f"name = {_quote(name)}", f"srcs = {pattern}", *data, *_deps_lines(deps)])
    if folder in BINARIES:
        target, main = BINARIES[folder]
        fields = [f"name = {_quote(target)}", f"srcs = [{_quote(main)}]", f"main = {_quote(main)}"]
        lines += _rule("py_binary", [*fields, *_deps_lines([f":{name}"])])
    for test in tests:
        path = root / test
        test_deps = sorted({*_deps(folder, [path], known, root), "//tests"} - {f"//{folder}"})  # tests: conftest.py
        fields = [f"name = {_quote(path.stem)}", 'size = "small"']
        fields += [f"srcs = {_list([path.name, '//bazel:run_pytest.py'])}", f"args = [{_quote(test)}]"]
        fields += ['data = ["//:pyproject.toml"]', 'main = "//bazel:run_pytest.py"']
        lines += _rule("py_test", [*fields, *_deps_lines([f":{name}", *test_deps])])
    return "\n".join(lines).rstrip("\n") + "\n"


def differences(root: Path = ROOT) -> list[str]:
    """The BUILD files that are missing, superfluous, or not as the imports demand."""
    expected = {f"{folder}/BUILD": text(folder, root) for folder in packages(root)}
    written = {
        path.relative_to(root).as_posix() for base in (*SOURCES, "tests") for path in (root / base).rglob("BUILD")
    }
    lines = [f"{path}: no package needs it" for path in sorted(written - expected.keys())]
    for path, content in expected.items():
        if path not in written:
            lines.append(f"{path}: missing")
        elif (root / path).read_text(encoding="utf-8") != content:
            lines.append(f"{path}: not as the imports demand")
    return lines


def write(root: Path = ROOT) -> None:
    """Write all BUILD files; delete superfluous ones."""
    folders = packages(root)
    for base in (*SOURCES, "tests"):
        for path in (root / base).rglob("BUILD"):
            if path.parent.relative_to(root).as_posix() not in folders:
                path.unlink()
    for folder in folders:
        (root / folder / "BUILD").write_text(text(folder, root), encoding="utf-8")


def _deps(folder: str, modules: list[Path], known: dict[str, list[Path]], root: Path) -> list[str]:
    """The labels of the packages that these modules import, without that of their package."""
    homes = {path: home for home, paths in known.items() for path in paths}
    imported = {homes[path] for module in modules for path in _imports(module, root) if path in homes}
    return [f"//{home}" for home in sorted(imported - {folder})]


def _imports(module: Path, root: Path) -> Iterator[Path]:
    """The project's files that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [name for alias in node.names for name in (f"{node.module}.{alias.name}", node.module)]
        else:
            continue
        for name in names:
            path = root / name.replace(".", "/")
            yield path.with_suffix(".py")
            yield path / "__init__.py"


def _rule(name: str, fields: list[str]) -> list[str]:
    return [f"{name}(", *(f"    {field}," for field in fields), ")", ""]


def _deps_lines(deps: list[str]) -> list[str]:
    return [f"deps = {_list(deps)}"] if deps else []


def _list(values: list[str]) -> str:
    if len(values) == 1:
        return f"[{_quote(values[0])}]"
    ordered = sorted(values, key=lambda value: (value.startswith("//"), value.replace(":", "!")))
    return "[\n" + "".join(f"        {_quote(value)},\n" for value in ordered) + "    ]"


def _quote(value: str) -> str:
    return f'"{value}"'


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    problems = differences()
    print("\n".join(problems) or "the BUILD files match the imports")
    sys.exit(bool(problems))
