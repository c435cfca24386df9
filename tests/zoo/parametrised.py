"""The pairs of a table as pytest's parameters; a pair that is known to be wrong must fail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tb_deepexplain.attribution.methods import TABLE
from tests.zoo.member import Member


def pairs(members: Iterable[Member]) -> Any:
    """Parametrise a test over (member, what): the methods of the table and the member's formats."""
    parameters = []
    for member in members:
        for method in TABLE:
            parameters.append(_parameter(member, method.id, member.expected(member.wrong, method)))
        for file_format in member.formats:
            parameters.append(_parameter(member, file_format, member.expected(member.wrong, file_format)))
    return pytest.mark.parametrize(("member", "subject"), parameters)


def _parameter(member: Member, subject: str, fault: str | None) -> Any:
    marks = () if fault is None else pytest.mark.xfail(reason=fault, strict=True)
    return pytest.param(member, subject, marks=marks, id=f"{member.name}-{subject}")
