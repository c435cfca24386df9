"""The main of a py_test: pytest on the files named."""

import sys

import pytest

sys.exit(pytest.main(["-c", "pyproject.toml", "-p", "no:cacheprovider", *sys.argv[1:]]))
