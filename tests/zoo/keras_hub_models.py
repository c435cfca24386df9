"""KerasHub's text and vision backbones, from small configurations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.zoo.keras_layers import randomise
from tests.zoo.member import RULES, Member, export, save_keras

SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
TEXT = {"vocabulary_size": 20, "max_sequence_length": 8, **SIZES}
LENGTH = 4  # tokens of an example


def _text_ids(segments: bool, padding: str = "padding_mask", ids: str = "token_ids") -> Callable[[Any], dict[str, Any]]:
    def xs(rng: Any) -> dict[str, Any]:
        inputs = {ids: rng.integers(1, 20, (2, LENGTH)).astype(np.int32), padding: np.ones((2, LENGTH), np.int32)}
        inputs[padding][1, -1] = 0
        return inputs | ({"segment_ids": np.array([[0, 0, 1, 1], [0, 1, 1, 1]], np.int32)} if segments else {})

    return xs


def _classifier(task: str, backbone: str, **sizes: Any) -> Any:
    """A classifier of two classes with logits."""
    import keras_hub

    body = getattr(keras_hub.models, backbone)(**sizes)
    model = getattr(keras_hub.models, task)(backbone=body, num_classes=2, preprocessor=None)
    randomise(model)
    return model


def _pooled(backbone: str, output: str = "", inputs: tuple[str, ...] = (), **sizes: Any) -> Any:
    """A backbone with a linear head on the mean of its sequence, or of one of its outputs and only these inputs."""
    import keras
    import keras_hub

    body = getattr(keras_hub.models, backbone)(**sizes)
    y = body.output[output] if output else body.output
    y = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(y))
    model = keras.Model({name: body.input[name] for name in inputs} if inputs else body.input, y)
    randomise(model)
    return model


def _embeddings(*names: str) -> Callable[[Any], list[Any]]:
    """The layers of these names, wherever they are in the model."""

    def layers(model: Any) -> list[Any]:
        by_name = {one.name: one for one in model._flatten_layers()}
        return [by_name[name] for name in names]

    return layers


def text(name: str, *embeddings: str, segments: bool = False, task: bool = True, **options: Any) -> Member:
    """A text classifier, or a backbone with a head, that is entered at its embeddings."""
    sizes = TEXT | options.pop("sizes", {})
    sizes = {key: value for key, value in sizes.items() if value is not None}
    build = functools.partial(_classifier, f"{name}TextClassifier") if task else _pooled
    return Member(
        name,
        functools.partial(build, backbone=f"{name}Backbone", **options.pop("build", {}), **sizes),
        options.pop("xs", _text_ids(segments)),
        entries=_embeddings(*embeddings),
        **{"refused": {RULES: "softmax"}} | options,
    )


def vision(name: str, size: int, task: bool = True, **options: Any) -> Member:
    """A picture classifier."""
    sizes = options.pop("sizes")
    return Member(
        name,
        functools.partial(_classifier, f"{name}ImageClassifier", f"{name}Backbone", **sizes),
        lambda rng: rng.normal(size=(2, size, size, 3)).astype(np.float32),
        **options,
    )


# A zero baseline is where RMS normalisation has a slope of 1/√ε.
STEEP = {"integrated_gradients": "completeness gap"}
TOKENS = "token_embedding"
TEXT_MODELS = [
    text("Bert", "segment_embedding", TOKENS, segments=True),
    text("Roberta", TOKENS),
    text("XLMRoberta", TOKENS),
    text("DistilBert", TOKENS),
    text("Albert", "segment_embedding", TOKENS, segments=True, sizes={"embedding_dim": 6}),
    text("DebertaV3", TOKENS),
    text(
        "Electra",
        "segment_embedding",
        TOKENS,
        segments=True,
        task=False,
        sizes={"vocabulary_size": None, "vocab_size": 20, "embedding_dim": 8},
        build={"output": "sequence_output"},
    ),
    text(
        "FNet",
        "segment_embedding",
        TOKENS,
        xs=lambda rng: {k: v for k, v in _text_ids(True)(rng).items() if k != "padding_mask"},
        sizes={"num_heads": None},
        refused={RULES: "product"},
    ),
    text("GPT2", TOKENS, task=False),
    text(
        "Gemma",
        TOKENS,
        warned=STEEP,
        task=False,
        sizes={
            "num_heads": None,
            "max_sequence_length": None,
            "num_query_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 4,
        },
    ),
    text(
        "T5",
        TOKENS,
        warned=STEEP,
        task=False,
        sizes={"max_sequence_length": None},
        build={"output": "encoder_sequence_output", "inputs": ("encoder_token_ids", "encoder_padding_mask")},
        xs=_text_ids(False, "encoder_padding_mask", "encoder_token_ids"),
    ),
    text(
        "Llama",
        TOKENS,
        task=False,
        formats={"SavedModel": export},
        sizes={"num_heads": None, "max_sequence_length": None, "num_query_heads": 2, "num_key_value_heads": 1},
    ),
]
SQUARE = {"image_shape": (16, 16, 3)}
PATCHES = SQUARE | {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
ATTENTION: Any = {"refused": {RULES: "softmax"}}
VISION_MODELS = [
    vision("ViT", 16, sizes=PATCHES | {"mlp_dim": 12}, **ATTENTION),
    vision("DeiT", 16, sizes=PATCHES | {"intermediate_dim": 12}, **ATTENTION),
    vision(
        "MiT",
        32,
        sizes={
            "image_shape": (32, 32, 3),
            "layerwise_depths": [1, 1],
            "num_layers": 2,
            "layerwise_num_heads": [1, 2],
            "layerwise_sr_ratios": [2, 1],
            "max_drop_path_rate": 0.1,
            "layerwise_patch_sizes": [7, 3],
            "layerwise_strides": [4, 2],
            "hidden_dims": [4, 8],
        },
        **ATTENTION,
    ),
    vision(
        "ResNet",
        16,
        sizes=SQUARE
        | {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [3],
            "stackwise_num_filters": [64, 64],
            "stackwise_num_blocks": [1, 1],
            "stackwise_num_strides": [1, 2],
            "block_type": "basic_block",
        },
    ),
]


def _segformer() -> Any:
    import keras_hub

    sizes = {
        "image_shape": (64, 64, 3),
        "layerwise_depths": [1, 1, 1, 1],
        "num_layers": 4,
        "layerwise_num_heads": [1, 1, 2, 2],
        "layerwise_sr_ratios": [4, 2, 1, 1],
        "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": [7, 3, 3, 3],
        "layerwise_strides": [4, 2, 2, 2],
        "hidden_dims": [4, 6, 8, 10],
    }
    body = keras_hub.models.SegFormerBackbone(keras_hub.models.MiTBackbone(**sizes), projection_filters=6)
    model = keras_hub.models.SegFormerImageSegmenter(body, num_classes=2, preprocessor=None)
    randomise(model)
    return model


VISION_MODELS.append(
    Member(
        "SegFormer",
        _segformer,
        lambda rng: rng.normal(size=(2, 64, 64, 3)).astype(np.float32),
        formats={".keras": save_keras},  # KerasHub exports another model: the outputs differ,
        **ATTENTION,
    )
)
KERAS_HUB = [*TEXT_MODELS, *VISION_MODELS]
