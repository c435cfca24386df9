"""Marker events: how TensorBoard learns of a store."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tb_deepexplain.errors import ParameterError
from tb_deepexplain.store.marker import read_marker, write_marker


def test_a_marker_is_written_once_and_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_marker(tmp_path, "a/b", "attributions")
    later = time.time() + 100
    monkeypatch.setattr("time.time", lambda: later)
    write_marker(tmp_path, "a/b", "attributions")
    write_marker(tmp_path, "a/b", "more")
    assert len(list((tmp_path / "a/b").iterdir())) == 2
    events = EventAccumulator(str(tmp_path / "a/b"))
    events.Reload()
    content = {name: json.dumps({"store": name, "format_version": 1}).encode() for name in ("attributions", "more")}
    assert events.PluginTagToContent("deepexplain") == content
    assert read_marker(b'{"store": "attributions", "format_version": 1}') == "attributions"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", "a\0", ".hidden", "-x", "ü", "x" * 200])
def test_a_store_name_is_one_plain_component(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="store name"):
        write_marker(tmp_path, "run", name)
    assert read_marker(json.dumps({"store": name}).encode()) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"store": 3}', b"\xff"])
def test_other_events_are_no_markers(content: bytes) -> None:
    assert read_marker(content) is None
