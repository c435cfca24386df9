"""TensorBoard starts as fast with the plugin as without: importing it loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "tensorflow",
    "keras",
    "apache_beam",
    "pyarrow",
    "PIL",
    "tb_deepexplain.store.reader",
    "tb_deepexplain.attribution.explainer",
)


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from tensorboard.plugins.base_plugin import TBContext\n"
        "from tb_deepexplain.plugin import DeepExplainLoader\n"
        "plugin = DeepExplainLoader().load(TBContext(logdir='x'))\n"
        "plugin.get_plugin_apps(), plugin.is_active(), plugin.frontend_metadata()\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_store_is_read_without_tensorflow() -> None:
    program = (
        "import sys\n"
        "import tb_deepexplain.plugin.page_of_maps, tb_deepexplain.plugin.catalogue\n"
        "print([name for name in ('tensorflow', 'keras', 'apache_beam') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_writing_a_marker_loads_no_tensorflow(tmp_path: object) -> None:
    program = (
        "import sys\n"
        "from tb_deepexplain.store.marker import write_marker\n"
        f"write_marker({str(tmp_path)!r}, 'run', 'name')\n"
        "print([name for name in ('tensorflow', 'pyarrow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
