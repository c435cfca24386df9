"""The demo run again: models and stores are kept, unless other code made them; an interruption does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.cli import demo
from beam_pipelines.cli.demo import digits
from tb_deepexplain.store.layout import store_path
from tb_deepexplain.store.reader import Store

pytestmark = pytest.mark.slow


def test_models_and_stores_are_kept_unless_other_code_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def explain() -> list[str]:
        assert demo._explain("digits", folder, logs) == 0
        return [method["id"] for method in Store(store_path(logs, "digits", "default")).manifest["methods"]]

    folder, logs = tmp_path / "models" / "digits", tmp_path / "logs"
    for name, value in {"EPOCHS": 1, "TRAINED": 64, "SHOWN": 8, "METHODS": {"saliency": {}}}.items():
        monkeypatch.setattr(digits, name, value)
    assert explain() == ["saliency"]
    capsys.readouterr()
    model = (folder / "model" / "saved_model.pb").stat().st_mtime_ns
    assert explain() == ["saliency"]
    assert "nothing was left to explain" in capsys.readouterr().out
    assert (folder / "model" / "saved_model.pb").stat().st_mtime_ns == model

    def stop(*_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_digest_sources", lambda: "of another version")
    monkeypatch.setattr(digits, "METHODS", {"gradient_x_input": {}})
    for function in (
        "beam_pipelines.cli.demo.digits.prepare",
        "beam_pipelines.cli.explain.main",
    ):  # at each of the two steps
        with monkeypatch.context() as during:
            during.setattr(function, stop)
            with pytest.raises(KeyboardInterrupt):
                explain()
    assert explain() == ["gradient_x_input"]
    assert (folder / "model" / "saved_model.pb").stat().st_mtime_ns != model
