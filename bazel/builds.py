"""The BUILD files: what they must say, by the imports of the code; and what they say.

    python -m bazel.builds            says what differs; status 1 if anything does
    python -m bazel.builds --write    writes them anew

A module beside the BUILD file of tb_deepexplain, beam_pipelines, examples or a folder of tests is a target of its own; a package
below the first two is one. FAST are the tests that Bazel runs.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOTS = ("tb_deepexplain", "beam_pipelines", "examples")
FAST = (
    "tests/graph/test_parsing.py",
    "tests/tfma/test_drift.py",
    "tests/plugin/test_filters.py",
    "tests/plugin/test_orders.py",
    "tests/plugin/test_pivots.py",
)
BINARIES = {"beam_pipelines/attribute.py": "attribute_command", "beam_pipelines/cli/main.py": "tb-deepexplain"}
DATA = {  # the page, where it has been built
    "//tb_deepexplain/plugin": 'glob(["openapi.json", "static/**"])',
}
# Asked for only when somebody uses it, and itself in need of the package.
LAZY = {("//tb_deepexplain", "//tb_deepexplain/training")}
_LOAD = 'load("@rules_python//python:defs.bzl", {})\n'


@dataclasses.dataclass(frozen=True)
class Target:
    """One rule: its label, its kind, its sources from the root, the labels it depends on."""

    label: str
    kind: str
    srcs: tuple[str, ...]
    deps: tuple[str, ...]

    @property
    def package(self) -> str:
        return self.label[2:].partition(":")[0]

    @property
    def name(self) -> str:
        return self.label.rpartition(":")[2] if ":" in self.label else self.label.rpartition("/")[2]


def wanted(root: Path = ROOT) -> dict[str, Target]:
    """The targets that there must be, by label."""
    homes = dict(_homes(root))
    labels: dict[str, list[str]] = {}
    for path, label in homes.items():
        labels.setdefault(label, []).append(path)
    found = {}
    for label, paths in labels.items():
        deps = {homes[path] for source in paths for path in _imported(root, source, homes)}
        deps |= {homes[path] for path in _conftests(label, homes)} if paths[0] in FAST else set()
        kept = sorted(dep for dep in deps - {label} if (label, dep) not in LAZY)
        kind = "py_test" if paths[0] in FAST else "py_library"
        found[label] = Target(label, kind, tuple(sorted(paths)), tuple(kept))
    for path, name in BINARIES.items():
        label = _label(Path(path).parent.as_posix(), name)
        found[label] = Target(label, "py_binary", (path,), found[homes[path]].deps)
    return found


def written(root: Path = ROOT) -> dict[str, Target]:
    """The targets of the BUILD files, which are Python as far as these go."""
    found = {}
    for file in sorted(root.glob("**/BUILD")):
        package = file.parent.relative_to(root).as_posix()
        if package.partition("/")[0] not in (*ROOTS, "tests"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                not isinstance(node, ast.Call)
                or not isinstance(node.func, ast.Name)
                or not node.func.id.startswith("py_")
            ):
                continue
            given = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg in ("name", "srcs", "deps")}
            label = _label(package, given["name"])
            srcs = [_path(package, source) for source in given["srcs"]]
            deps = [_absolute(package, dep) for dep in given.get("deps", [])]
            found[label] = Target(
                label, node.func.id, tuple(s for s in sorted(srcs) if s != "bazel/run_pytest.py"), tuple(sorted(deps))
            )
    return found


def differences(root: Path = ROOT) -> list[str]:
    """What the BUILD files say too much and too little, a line each."""
    must, say = wanted(root), written(root)
    lines = [f"{label} is not there: it has {', '.join(must[label].srcs)}" for label in must.keys() - say.keys()]
    lines += [f"{label} is there, and nothing is to be in it" for label in say.keys() - must.keys()]
    for label in must.keys() & say.keys():
        for what in ("srcs", "deps"):
            right, there = set(getattr(must[label], what)), set(getattr(say[label], what))
            lines += [f"{label} lacks {one} among its {what}" for one in sorted(right - there)]
            lines += [f"{label} has {one} among its {what}, which it does not use" for one in sorted(there - right)]
    return sorted(lines)


def write(root: Path = ROOT) -> None:
    """The BUILD files anew."""
    packages: dict[str, list[Target]] = {}
    for target in wanted(root).values():
        packages.setdefault(target.package, []).append(target)
    for package, targets in packages.items():
        (root / package / "BUILD").write_text(_text(package, sorted(targets, key=lambda t: t.name)))


def _text(package: str, targets: Iterable[Target]) -> str:
    targets = list(targets)
    kinds = sorted({target.kind for target in targets})
    text = _LOAD.format(", ".join(f'"{kind}"' for kind in kinds))
    text += '\npackage(default_visibility = ["//visibility:public"])\n'
    for target in targets:
        srcs = [
            _short(package, f"//{Path(s).parent.as_posix()}:{Path(s).name}".replace("//.:", "//:")) for s in target.srcs
        ]
        lines = [f"name = {_quoted(target.name)}"]
        if target.kind == "py_test":
            lines.append('size = "small"')
            lines.append(f"srcs = {_list([*srcs, '//bazel:run_pytest.py'])}")
            lines.append(f"args = {_list(list(target.srcs))}")
            lines.append('data = ["//:pyproject.toml"]')
            lines.append('main = "//bazel:run_pytest.py"')
        else:
            lines.append(f"srcs = {_list(srcs)}")
        if target.kind == "py_binary":
            lines.append(f"main = {_quoted(srcs[0])}")
        if target.label in DATA:
            lines.append(f"data = {DATA[target.label]}")
        if target.deps:
            lines.append(f"deps = {_list([_short(package, dep) for dep in target.deps])}")
        text += f"\n{target.kind}(\n" + "".join(f"    {line},\n" for line in lines) + ")\n"
    return text


def _list(values: list[str]) -> str:
    if len(values) < 2:
        return f"[{', '.join(map(_quoted, values))}]"
    ordered = sorted(values, key=lambda v: (v.startswith("//"), v.replace(":", "!")))
    return "[\n" + "".join(f"        {_quoted(value)},\n" for value in ordered) + "    ]"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _homes(root: Path) -> Iterator[tuple[str, str]]:
    """Each source, and the label of the target that has it."""
    for base in ROOTS:
        for path in sorted((root / base).rglob("*.py")):
            inner = path.relative_to(root / base)
            folder = f"{base}/{inner.parts[0]}" if len(inner.parts) > 1 else base
            name = "" if len(inner.parts) > 1 or inner.stem == "__init__" else inner.stem
            yield path.relative_to(root).as_posix(), _label(folder, name or folder.rpartition("/")[2])
    folders = {Path(test).parent.as_posix() for test in FAST}
    for folder in sorted(folders | {"tests"}):
        for path in sorted((root / folder).glob("*.py")):
            name = path.relative_to(root).as_posix()
            if path.stem != "__init__" and (not path.stem.startswith("test_") or name in FAST):
                yield name, _label(folder, path.stem)


def _imported(root: Path, source: str, homes: Mapping[str, str]) -> Iterator[str]:
    """The project's files that a file imports, wherever in it."""
    for node in ast.walk(ast.parse((root / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [name for alias in node.names for name in (f"{node.module}.{alias.name}", node.module)]
        else:
            continue
        for name in names:
            base = name.replace(".", "/")
            yield from (path for path in (f"{base}.py", f"{base}/__init__.py") if path in homes)


def _conftests(label: str, homes: Mapping[str, str]) -> list[str]:
    """Those that pytest reads for a test of this target."""
    parts = label[2:].partition(":")[0].split("/")
    paths = ["/".join([*parts[: i + 1], "conftest.py"]) for i in range(len(parts))]
    return [path for path in paths if path in homes]


def _label(package: str, name: str) -> str:
    return f"//{package}" if package.rpartition("/")[2] == name else f"//{package}:{name}"


def _short(package: str, label: str) -> str:
    if label == f"//{package}":
        return f":{package.rpartition('/')[2]}"
    inside, _, name = label.partition(":")
    if inside != f"//{package}" or not name:
        return label
    return name if name.endswith(".py") else f":{name}"


def _absolute(package: str, dep: str) -> str:
    if dep.startswith("//"):
        return dep
    return _label(package, dep.lstrip(":"))


def _path(package: str, source: str) -> str:
    if source.startswith("//"):
        return source[2:].replace(":", "/").lstrip("/")
    return f"{package}/{source}".lstrip("/")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    wrong = differences()
    print("\n".join(wrong) or "the BUILD files are as the imports are")
    sys.exit(bool(wrong))
