"""Every method on KerasHub's backbones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.checks import check_subject
from tests.zoo.keras_hub_models import KERAS_HUB
from tests.zoo.member import Member
from tests.zoo.parametrised import pairs

pytest.importorskip("keras_hub", reason="make test-zoo installs it")
pytestmark = pytest.mark.zoo


@pairs(KERAS_HUB)
def test_right_or_rightly_refused(member: Member, subject: str, tmp_path: Path) -> None:
    check_subject(member, subject, tmp_path)
