"""Every code block of README and docs runs: Python page by page, and the commands on small data.

The blocks of docs/tfx.md need TFX: tests/tfx/test_docs.py runs them.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from beam_pipelines.cli.arguments import parse_explain
from beam_pipelines.cli.main import main as tb_deepexplain
from tb_deepexplain.attribution import methods
from tests import models
from tests.attribution import test_properties, test_table
from tests.docs import pages
from tests.pipeline_runs import write_records

PYTHON = [
    page
    for page in pages.PAGES
    if pages.name(page) != "docs/tfx.md" and any(b.language == "python" and not b.title for b in pages.blocks(page))
]
SHELL = [page for page in pages.PAGES if any(b.language in ("bash", "sh") for b in pages.blocks(page))]
LONG = {"docs/evaluation.md"}  # ranks all methods, by all measures: test-slow
SERVICES = {"docker", "gcloud", "java", "bazel"}  # programs that are not here


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models and files that the blocks name."""
    folder = tmp_path_factory.mktemp("docs")
    models.image().export(folder / "my_model", verbose=False)
    models.text(strings=True).export(folder / "my_text_model", verbose=False)
    pictures = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3)).astype(np.float32)
    (folder / "data").mkdir()
    write_records(
        folder / "data" / "a.tfrecord", [{"image": picture / 255, "label": i % 3} for i, picture in enumerate(pictures)]
    )
    (folder / "labels.txt").write_text("cat\ndog\nfox\n")
    for i, picture in enumerate(pictures):
        path = folder / "photos" / ("cat", "dog", "fox")[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, picture, scale=False)
    return folder


def _by_page(paths: list[Path]) -> Any:
    marks = {True: [pytest.mark.slow], False: []}
    parameters = [pytest.param(path, id=pages.name(path), marks=marks[pages.name(path) in LONG]) for path in paths]
    return pytest.mark.parametrize("page", parameters)


@_by_page(PYTHON)
def test_python_blocks_run(page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    images = np.random.default_rng(1).uniform(0, 1, (4, 8, 8, 3)).astype(np.float32)
    names: dict[str, Any] = {"model": models.image(), "images": images, "picture": images[0]}
    for block in pages.blocks(page):
        if block.language == "python" and not block.title:
            exec(compile(block.text, pages.name(page), "exec"), names)


@_by_page(SHELL)
def test_commands_run(page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    shutil.rmtree(workspace / "logs", ignore_errors=True)  # pages use the same names
    for block in pages.blocks(page):
        if block.language in ("bash", "sh"):
            for words in pages.commands(block.text):
                _check(words, run=block.language == "bash")


def _check(words: list[str], run: bool) -> None:
    """Run one command of ours, or check that what it names exists."""
    while "=" in words[0]:  # environment variables
        words = words[1:]
    program, arguments = Path(words[0]).name, words[1:]
    check: Callable[[list[str], bool], None] = {
        "make": _check_make,
        "pip": _check_pip,
        "python": _check_python,
        "tb-deepexplain": _check_command,
        "RUN": _check_options,
        "npm": _check_npm,
    }.get(program, _check_program)
    check(words if check is _check_program else arguments, run)


def _check_make(arguments: list[str], run: bool) -> None:
    makefile = (pages.ROOT / "Makefile").read_text()
    for target in (word for word in arguments if "=" not in word):
        if target.startswith("."):
            assert re.search(rf"^\$\((VENV|ENGINES)\)/{re.escape(target.rpartition('/')[2])}:", makefile, re.MULTILINE)
        else:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for narrowed in (word.removeprefix("ARGS=") for word in arguments if word.startswith("ARGS=")):
        for path in (part for part in narrowed.split() if part.startswith("tests/")):
            assert (pages.ROOT / path).exists(), path


def _check_pip(arguments: list[str], run: bool) -> None:
    setup = (pages.ROOT / "setup.py").read_text()
    for package in arguments[1:]:
        name, _, extras = package.rstrip("]").partition("[")
        if name == "tensorboard-plugin-deepexplain":
            assert all(f'"{extra}": [' in setup for extra in extras.split(",") if extra), package


def _check_python(arguments: list[str], run: bool) -> None:
    assert arguments[0] == "-m"
    if arguments[1] == "beam_pipelines.attribute":
        return _check_options(arguments[2:], run)
    if arguments[1].partition(".")[0] in ("benchmarks", "examples", "bazel"):  # apache_beam's own worker pool, else
        assert importlib.util.find_spec(arguments[1]), arguments[1]
    return None


def _check_command(arguments: list[str], run: bool) -> None:
    assert run
    assert tb_deepexplain(arguments) == 0


def _check_options(arguments: list[str], run: bool) -> None:
    """Options of the pipeline; Beam checks its own later. RUN stands for the first command of docs/scale.md."""
    needed = ["--model=M", "--input=I", "--logdir=L", "--methods=saliency"]
    parse_explain([*needed, *arguments], "RUN")


def _check_npm(arguments: list[str], run: bool) -> None:
    scripts = json.loads((pages.ROOT / "frontend" / "package.json").read_text())["scripts"]
    name = arguments[1] if arguments[0] == "run" else arguments[0]
    assert name in scripts


def _check_program(words: list[str], run: bool) -> None:
    known = {"tensorboard", "cd", "pre-commit"} | (set() if run else SERVICES) | {"bazel"}
    assert Path(words[0]).name in known, " ".join(words)


def test_the_method_of_the_how_to_page_works(monkeypatch: pytest.MonkeyPatch) -> None:
    file, row, test = (b for b in pages.blocks(pages.ROOT / "docs/howto/method.md") if b.language == "python")
    assert (pages.ROOT / file.title).parent == Path(methods.__file__).parent
    names: dict[str, Any] = vars(methods).copy()
    exec(compile(file.text, file.title, "exec"), names)
    method = eval(row.text.strip().removesuffix(","), names)
    monkeypatch.setattr(methods, "TABLE", (*methods.TABLE, method))
    twins = eval(f"{{{test.text}}}", vars(test_properties).copy())
    monkeypatch.setattr(test_properties, "TWINS", twins)
    test_properties.test_each_method_agrees_with_a_literal_twin(method.id)
    test_table.test_every_row_describes_its_method()


def test_the_file_of_the_how_to_page_passes_the_linters() -> None:
    file = pages.blocks(pages.ROOT / "docs/howto/method.md")[0]
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, f"--stdin-filename={file.title}", "-"]
        done = subprocess.run(ruff, input=file.text, capture_output=True, text=True, check=False, cwd=pages.ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
