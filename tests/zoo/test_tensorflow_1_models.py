"""Every method on models of TensorFlow 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.checks import check_subject
from tests.zoo.member import Member
from tests.zoo.parametrised import pairs
from tests.zoo.tensorflow_1_models import TENSORFLOW_1

pytestmark = pytest.mark.zoo


@pairs(TENSORFLOW_1)
def test_right_or_rightly_refused(member: Member, subject: str, tmp_path: Path) -> None:
    check_subject(member, subject, tmp_path)
