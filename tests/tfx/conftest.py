"""Everything here needs TFX, which has an environment of its own; without it test_installed.py says so."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("tfx") else ["test_[!i]*.py"]
