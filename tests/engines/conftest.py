"""The models of the pipeline's tests."""

from tests.pipelines.conftest import exported, image

__all__ = ["exported", "image"]
