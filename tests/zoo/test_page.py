"""docs/zoo.md is what the tables of the zoo say."""

from __future__ import annotations

from pathlib import Path

from tests.zoo.page import SECTIONS, page


def test_the_page_is_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "zoo.md"
    assert path.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_names_are_unique() -> None:
    for members in SECTIONS.values():
        names = [member.name for member in members]
        assert len(set(names)) == len(names)
