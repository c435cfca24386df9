"""Links of the documentation lead somewhere, and its code blocks name a language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import pages

LANGUAGES = {
    "bash": "commands that a test runs or checks",
    "sh": "commands of services that are not here; options of our own commands are checked",
    "python": "code that a test runs",
    "proto": "a part of an EvalConfig that a test parses",
    "text": "no code",
    "mermaid": "a diagram",
}


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_resolve(page: Path) -> None:
    wrong = []
    for target in pages.links(page):
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in pages.anchors(file)):
            wrong.append(target)
    assert not wrong


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_code_blocks_name_their_language(page: Path) -> None:
    assert {block.language for block in pages.blocks(page)} <= LANGUAGES.keys()


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve() for page in pages.PAGES for target in pages.links(page)
    }
    entry_points = {pages.ROOT / "README.md", pages.ROOT / "CHANGELOG.md"}
    assert [pages.name(page) for page in pages.PAGES if page not in linked | entry_points] == []


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((pages.ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_architecture_names_every_folder_and_only_existing_files() -> None:
    text = (pages.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree, _, rest = text.partition("## What imports what")
    named = set(re.findall(r"^\| `(?:[│├└ ]*)([a-z_]+)/", tree, re.MULTILINE))
    folders = {
        path.parent.name for base in ("tb_deepexplain", "beam_pipelines") for path in (pages.ROOT / base).rglob("*.py")
    }
    assert folders - named == set()
    files = re.findall(r"`((?:tb_deepexplain|beam_pipelines|frontend)/[\w/]+\.\w+)`", rest)
    assert len(files) > 5
    assert [file for file in files if not (pages.ROOT / file).exists()] == []
    modules = re.findall(r"`([a-z_]+)\.([a-z_]+)`", rest)
    homes = [pages.ROOT / base for base in ("tb_deepexplain", "beam_pipelines")]
    assert [
        m for m in modules if m[1] not in ("py", "toml") and not any((h / m[0] / f"{m[1]}.py").exists() for h in homes)
    ] == []
