"""The pinned environment builds and installs the wheel that TFX makes of a `module_file=`."""

from __future__ import annotations

import runpy
from pathlib import Path

from tfx.components.util import udf_utils


def test_a_module_file_is_built_and_installed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "trainer_code.py").write_text("def run_fn(arguments):\n    return arguments + 1\n")
    wheel, _ = udf_utils.package_user_module_file("Trainer", str(tmp_path / "mine" / "trainer_code.py"), str(tmp_path))
    installed = udf_utils.install_to_temp_directory(wheel, str(tmp_path / "installed"))
    assert runpy.run_path(f"{installed}/trainer_code.py")["run_fn"](1) == 2
