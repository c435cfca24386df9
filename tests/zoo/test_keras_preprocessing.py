"""Every method on Keras' layers for categories and text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.checks import check_subject
from tests.zoo.keras_preprocessing import CATEGORIES
from tests.zoo.member import Member
from tests.zoo.parametrised import pairs

pytestmark = pytest.mark.zoo


@pairs(CATEGORIES)
def test_right_or_rightly_refused(member: Member, subject: str, tmp_path: Path) -> None:
    check_subject(member, subject, tmp_path)
