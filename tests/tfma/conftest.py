"""Tests that need TFMA are collected only in its environment (make test-tfx)."""

import importlib.util

collect_ignore = (
    [] if importlib.util.find_spec("tensorflow_model_analysis") else ["test_slice_features.py", "test_tfma.py"]
)
