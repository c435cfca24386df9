"""Hugging Face's TensorFlow classifiers, from small configurations."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from tests.zoo.member import RULES, Member

LENGTH = 4
SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}


def _build(name: str, head: str, **sizes: Any) -> Any:
    """A classifier of two classes, called once; weights ten times larger than at the start of a training."""
    import transformers

    config = getattr(transformers, f"{name}Config")(num_labels=2, **sizes)
    model = getattr(transformers, f"TF{name}For{head}Classification")(config)
    model(model.dummy_inputs)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = weight.numpy()
        if value.dtype.kind == "f":
            weight.assign(
                value * 5 + 0.1 * rng.normal(size=value.shape)
                if value.ndim > 1
                else value + 0.1 * rng.uniform(size=value.shape)
            )
    return model


def _function_of_ids(model: Any) -> Any:
    import tensorflow as tf

    def logits(input_ids: Any, attention_mask: Any) -> Any:
        return model(input_ids=input_ids, attention_mask=attention_mask, training=False).logits

    ids = tf.TensorSpec([None, LENGTH], tf.int32)
    return tf.function(logits), {"input_ids": ids, "attention_mask": ids}


def _function_of_pictures(model: Any, size: int) -> Any:
    import tensorflow as tf

    def logits(pixel_values: Any) -> Any:
        return model(pixel_values=pixel_values, training=False).logits

    return tf.function(logits), tf.TensorSpec([None, 3, size, size])


def _export(model: Any, folder: Path, explained: Any) -> Path:
    import tensorflow as tf

    function, specs = explained(model)
    module = tf.Module()
    module.weights = list(model.weights)  # of which the function is made; the layers themselves take minutes to save
    module.call = function
    signature = (
        function.get_concrete_function(**specs) if isinstance(specs, dict) else function.get_concrete_function(specs)
    )
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signature)
    return folder / "saved_model"


def _text_inputs(rng: Any) -> dict[str, Any]:
    mask = np.ones((2, LENGTH), np.int32)
    mask[1, -1] = 0
    return {"input_ids": rng.integers(3, 20, (2, LENGTH)).astype(np.int32) * mask, "attention_mask": mask}


def _word_embedding(model: Any) -> list[Any]:
    """Keras' layer, or the table that tf.gather reads."""
    layer = model.get_input_embeddings()
    return [layer if not hasattr(layer, "weight") else layer.weight]


def text(name: str, **options: Any) -> Member:
    """A text classifier that is entered at its word embedding."""
    sizes = SIZES | options.pop("sizes", {})
    return Member(
        name,
        functools.partial(_build, name, "Sequence", **{k: v for k, v in sizes.items() if v is not None}),
        _text_inputs,
        call=lambda model, inputs: model(**inputs, training=False).logits,
        entries=_word_embedding,
        explained=_function_of_ids,
        has_keras_activations=False,
        **{
            "refused": {RULES: "softmax"},
            "formats": {"SavedModel": functools.partial(_export, explained=_function_of_ids)},
        }
        | options,
    )


def picture(name: str, size: int, **options: Any) -> Member:
    """A picture classifier."""
    explained = functools.partial(_function_of_pictures, size=size)
    return Member(
        name,
        functools.partial(_build, name, "Image", **options.pop("sizes")),
        lambda rng: rng.normal(size=(2, 3, size, size)).astype(np.float32),
        call=lambda model, pictures: model(pixel_values=pictures, training=False).logits,
        explained=explained,
        formats={"SavedModel": functools.partial(_export, explained=explained)},
        has_keras_activations=False,
        **options,
    )


SOFTMAX: Any = {"refused": {RULES: "softmax"}}
DIM = dict.fromkeys(
    ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
)
GPT = DIM | {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
TEXT_MODELS = [
    text("Bert"),
    text("Roberta"),
    text("XLMRoberta"),
    text(
        "DistilBert",
        sizes=DIM | {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 12, "max_position_embeddings": 16},
    ),
    text("Albert", sizes={"embedding_size": 6}),
    text("Electra", sizes={"embedding_size": 6}),
    text("Deberta", sizes={"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    text("DebertaV2", sizes={"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    text("GPT2", sizes=GPT),
    text("OpenAIGPT", sizes=GPT),
    text("MPNet"),
    text("RemBert", sizes={"input_embedding_size": 6}),
    text("RoFormer", sizes={"embedding_size": 8}),
    text("ConvBert", sizes={"embedding_size": 8, "conv_kernel_size": 3}),
    text(
        "XLNet",
        sizes=DIM | {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 12},
        refused={"every": "batch axis"},
        formats={},
    ),
    text("Esm", sizes={"mask_token_id": 1}),
]
PATCHES = {
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}
SEGFORMER = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [4, 8],
    "patch_sizes": [3, 3],
    "strides": [2, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 8,
}
CVT = {
    "image_size": 32,
    "patch_sizes": [3, 3],
    "patch_stride": [2, 2],
    "patch_padding": [1, 1],
    "embed_dim": [4, 8],
    "num_heads": [1, 2],
    "depth": [1, 2],
    "mlp_ratio": [2.0, 2.0],
    "attention_drop_rate": [0.0, 0.0],
    "drop_rate": [0.0, 0.0],
    "drop_path_rate": [0.0, 0.0],
    "qkv_bias": [True, True],
    "cls_token": [False, True],
    "qkv_projection_method": ["dw_bn", "dw_bn"],
    "kernel_qkv": [3, 3],
    "padding_kv": [1, 1],
    "stride_kv": [2, 2],
    "padding_q": [1, 1],
    "stride_q": [1, 1],
}
PICTURE_MODELS = [
    picture("ViT", 16, sizes=PATCHES, **SOFTMAX),
    picture("DeiT", 16, sizes=PATCHES, **SOFTMAX),
    picture("Data2VecVision", 16, sizes=PATCHES, **SOFTMAX),
    picture(
        "Swin",
        16,
        sizes={
            "image_size": 16,
            "patch_size": 4,
            "embed_dim": 4,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "window_size": 2,
        },
        **SOFTMAX,
    ),
    picture(
        "ConvNext", 32, sizes={"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2}, refused={RULES: "product"}
    ),
    picture(
        "ConvNextV2", 32, sizes={"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2}, refused={RULES: "product"}
    ),
    picture(
        "RegNet",
        32,
        sizes={"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "groups_width": 2},
        refused={RULES: "product"},
    ),
    picture("ResNet", 32, sizes={"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}),
    picture(
        "MobileViT",
        64,
        sizes={
            "image_size": 64,
            "hidden_sizes": [4, 6, 8],
            "neck_hidden_sizes": [4, 4, 4, 6, 6, 8, 12],
            "num_attention_heads": 2,
        },
        **SOFTMAX,
    ),
    picture(
        "Segformer",
        32,
        sizes=SEGFORMER,
        warned={"integrated_gradients": "completeness gap"},  # its norms are steepest next to a picture of zeros
        **SOFTMAX,
    ),
    picture("Cvt", 32, sizes=CVT, **SOFTMAX),
]
HUGGING_FACE = [*TEXT_MODELS, *PICTURE_MODELS]
