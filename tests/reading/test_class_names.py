"""Class names of the input are matched to those of --labels."""

from __future__ import annotations

import pytest

from beam_pipelines.reading.class_names import match_class_names
from tb_deepexplain.errors import InputError


def split(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(text.split())


@pytest.mark.parametrize(
    ("input_names", "labels", "shown", "values"),
    [
        (None, None, None, ""),
        (None, "cat dog", "cat dog", "cat dog"),
        ("cat dog", None, "cat dog", "cat dog"),
        ("cat dog", "dog fish cat", "dog fish cat", "dog fish cat"),
        ("n01 n02", "cat dog", "cat dog", "n01 n02"),  # other names for the same classes, in their order
    ],
)
def test_class_names(input_names: str | None, labels: str | None, shown: str | None, values: str) -> None:
    assert match_class_names(split(input_names), split(labels)) == (split(shown), split(values))


@pytest.mark.parametrize(
    ("labels", "unknown"),
    [(("cat",), "dog"), (("cat", "cow"), "dog"), (("a", "b", "c"), "cat, dog"), (("a",), "cat, dog")],
)
def test_labels_that_do_not_fit_the_class_names_of_the_input(labels: tuple[str, ...], unknown: str) -> None:
    with pytest.raises(InputError, match=f"the input has 2, and {unknown} is not among --labels; name every class"):
        match_class_names(("cat", "dog"), labels)
