"""What needs TFMA, which has an environment of its own, is collected there alone (make test-tfx)."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("tensorflow_model_analysis") else ["test_tfma.py"]
