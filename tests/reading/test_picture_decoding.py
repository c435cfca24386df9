"""Pictures are decoded and resized as Keras' loaders do it, and shown as they are decoded."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from beam_pipelines.reading.example_parser import ExampleParser
from beam_pipelines.reading.record_spec import RESIZE_METHODS, RecordSpec, resize_method
from tb_deepexplain.errors import InputError, ParameterError
from tb_deepexplain.graph.input_spec import InputSpec
from tb_deepexplain.recording import display
from tb_deepexplain.recording.example import Example
from tb_deepexplain.recording.modality import ShownInput

TURNED = 6  # EXIF: the camera was held upright


@pytest.fixture(params=["png", "jpeg"])
def photo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkerboard of 12×18 pixels whose EXIF data tell browsers to turn it."""
    board = np.kron(np.indices((12, 18)).sum(0)[..., None] % 2, [40, 200, 250]).astype(np.uint8)
    exif = Image.Exif()
    exif[Image.ExifTags.Base.Orientation] = TURNED
    path: Path = tmp_path / "photos" / f"board.{request.param}"
    path.parent.mkdir()
    Image.fromarray(board).save(path, exif=exif)
    return path


def parse(photo: Path, shape: tuple[int | None, ...], resize: str | None = None) -> Example:
    parser = ExampleParser([InputSpec("x", "float32", (None, *shape), "x")], RecordSpec(resize=resize))
    return parser.parse({"x": photo.read_bytes()}, "board")


def tolerance(photo: Path) -> float:
    """Levels of grey by which PIL and TensorFlow, which Keras' datasets use, differ."""
    return 5 if photo.suffix == ".jpeg" else 1


@pytest.mark.parametrize("method", ["bilinear", "nearest", "bicubic"])
def test_a_picture_is_resized_as_by_the_loader_of_keras(photo: Path, method: str) -> None:
    (dataset,) = keras.utils.image_dataset_from_directory(
        photo.parent, labels=None, image_size=(5, 7), interpolation=method
    )
    np.testing.assert_allclose(parse(photo, (5, 7, 3), method).inputs["x"], dataset.numpy()[0], atol=1e-3)


def test_antialias_resizes_as_pil_does(photo: Path) -> None:
    loaded = keras.utils.load_img(photo, target_size=(5, 7), interpolation="bilinear")
    np.testing.assert_allclose(
        parse(photo, (5, 7, 3), "antialias").inputs["x"], np.asarray(loaded), atol=tolerance(photo)
    )


@pytest.mark.parametrize("method", ["bicubic", "lanczos3", "mitchellcubic"])
def test_a_picture_for_integers_does_not_wrap_where_resizing_exceeds_its_bounds(method: str) -> None:
    halves = np.repeat(np.array([0, 255], np.uint8), 3 * 4).reshape(1, 2, 4, 3)[0].transpose(1, 0, 2).repeat(4, 1)
    encoded = display.encode_png(halves)
    spec = InputSpec("x", "uint8", (None, 4, 6, 3), "x")
    resized = ExampleParser([spec], RecordSpec(resize=method)).parse({"x": encoded}, "p").inputs["x"]
    assert resized.dtype == np.uint8
    assert (resized[:, :3] < 128).all() and (resized[:, 3:] > 127).all()
    with pytest.raises(InputError, match="a number that int8 cannot hold"):
        ExampleParser([InputSpec("x", "int8", (None, 4, 8, 3), "x")]).parse({"x": encoded}, "p")


def test_resizing_without_a_name_is_that_of_keras() -> None:
    assert (resize_method(True), resize_method("area"), resize_method(False)) == ("bilinear", "area", None)
    assert RESIZE_METHODS["bilinear"] == ("bilinear", False)
    with pytest.raises(ParameterError, match="resize sharp: expected bilinear, antialias, nearest"):
        RecordSpec(resize="sharp")


def test_the_stored_picture_has_the_orientation_of_the_model_s_input(photo: Path) -> None:
    example = parse(photo, (None, None, 3))
    assert example.inputs["x"].shape == (12, 18, 3)
    np.testing.assert_allclose(example.inputs["x"], keras.utils.load_img(photo), atol=tolerance(photo))
    shown = ShownInput("x", "image", InputSpec("x", "float32", (None, None, None, 3), "x"), is_one_value=False)
    (row,) = display.store_examples([example], [shown], "image", [], [{}])
    stored = row.image
    assert stored is not None
    with Image.open(io.BytesIO(stored)) as shown, Image.open(photo) as original:
        assert dict(original.getexif()) == {Image.ExifTags.Base.Orientation: TURNED}
        assert dict(shown.getexif()) == {}
        assert shown.format == original.format
        np.testing.assert_allclose(shown, example.inputs["x"], atol=tolerance(photo))
