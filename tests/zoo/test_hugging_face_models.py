"""Every method on Hugging Face's TensorFlow models."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.checks import check_subject
from tests.zoo.hugging_face_models import HUGGING_FACE
from tests.zoo.member import Member
from tests.zoo.parametrised import pairs

pytest.importorskip("transformers", reason="make test-zoo installs it")
pytestmark = pytest.mark.zoo


@pairs(HUGGING_FACE)
def test_right_or_rightly_refused(member: Member, subject: str, tmp_path: Path) -> None:
    check_subject(member, subject, tmp_path)
