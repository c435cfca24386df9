"""Keras' layers one by one: each between an input and a dense head of two outputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.zoo.member import RULES, Member

SEQUENCE, IMAGE, TABLE = (4, 2), (6, 6, 3), (6,)


def _net(make: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    """Input → layer → two outputs; weights random, those that start as zeros and ones too."""
    import keras

    x = keras.Input(shape, name="x")
    y = make(keras.layers)
    y = y(x) if callable(y) else y
    if len(y.shape) > 2:
        y = keras.layers.Flatten()(y)
    model = keras.Model(x, keras.layers.Dense(2, name="head")(y))
    randomise(model)
    return model


def randomise(model: Any, size: float = 0.2) -> None:
    """Move all weights of vectors (biases, scales, statistics) at random, so that a wrong one shows.

    The statistics of a Normalization stay: Keras reads them when it builds the layer and when it loads it, not when it calls it.
    """
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if (
            len(weight.shape) == 1
            and "seed" not in weight.path
            and not weight.path.startswith("normalization")
            and weight.dtype.startswith("float")
        ):
            value = np.asarray(weight)
            weight.assign(value * rng.uniform(0.7, 1.4, value.shape) + size * rng.uniform(0.1, 1, value.shape))


def layer(name: str, shape: tuple[int, ...], make: Callable[[Any], Any], **options: Any) -> Member:
    """A member with this layer between a real-valued input and the head."""
    return Member(
        name,
        functools.partial(_net, make, shape),
        lambda rng: rng.normal(size=(2, *shape)).astype(np.float32),
        **options,
    )


LOOP: Mapping[str, Any] = {"refused": {RULES: "loop"}}
PRODUCT: Mapping[str, Any] = {"refused": {RULES: "product"}}
SOFTMAX: Mapping[str, Any] = {"refused": {RULES: "softmax"}}

RECURRENT = [
    layer("SimpleRNN", SEQUENCE, lambda k: k.SimpleRNN(3), **LOOP),
    layer("GRU", SEQUENCE, lambda k: k.GRU(3), **LOOP),
    layer("LSTM", SEQUENCE, lambda k: k.LSTM(3), **LOOP),
    layer("LSTM, sequences", SEQUENCE, lambda k: k.LSTM(3, return_sequences=True), **LOOP),
    layer("LSTM, unrolled", SEQUENCE, lambda k: k.LSTM(3, unroll=True), **PRODUCT),
    layer("SimpleRNN, unrolled", SEQUENCE, lambda k: k.SimpleRNN(3, unroll=True)),
    layer("GRU, backwards", SEQUENCE, lambda k: k.GRU(3, go_backwards=True, reset_after=False), **LOOP),
    layer("Bidirectional", SEQUENCE, lambda k: k.Bidirectional(k.GRU(3)), **LOOP),
    layer("RNN of two cells", SEQUENCE, lambda k: k.RNN([k.LSTMCell(3), k.GRUCell(2)]), **LOOP),
    layer("TimeDistributed", SEQUENCE, lambda k: k.TimeDistributed(k.Dense(3, "tanh"))),
    layer("ConvLSTM1D", (3, 4, 2), lambda k: k.ConvLSTM1D(2, 2), **LOOP),
    layer("ConvLSTM2D", (2, 4, 4, 2), lambda k: k.ConvLSTM2D(2, 2), **LOOP),
    layer(
        "Masking and LSTM",  # its baseline of zeros is masked, so that the score jumps where the path starts
        SEQUENCE,
        lambda k: _chain(k.Masking(), k.LSTM(3)),
        warned={"integrated_gradients": "the score jumps"},
        **LOOP,
    ),
]


def _chain(*layers: Any) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        for one in layers:
            x = one(x)
        return x

    return call


def _self_attention(attention: Any, *order: str) -> Callable[[Any], Any]:
    return lambda x: attention(**dict.fromkeys(order, x)) if order else attention([x, x])


ATTENTION = [
    layer("Attention", SEQUENCE, lambda k: _self_attention(k.Attention()), **SOFTMAX),
    layer("Attention, concat", SEQUENCE, lambda k: _self_attention(k.Attention(score_mode="concat")), **SOFTMAX),
    layer("AdditiveAttention", SEQUENCE, lambda k: _self_attention(k.AdditiveAttention()), **SOFTMAX),
    layer(
        "MultiHeadAttention",
        SEQUENCE,
        lambda k: _self_attention(k.MultiHeadAttention(2, 3), "query", "value"),
        **SOFTMAX,
    ),
    layer(
        "GroupQueryAttention",
        SEQUENCE,
        lambda k: _self_attention(k.GroupQueryAttention(3, 4, 2), "query", "value"),
        **SOFTMAX,
    ),
]

NORMALISATION = [
    layer("BatchNormalization", IMAGE, lambda k: k.BatchNormalization()),
    layer("LayerNormalization", SEQUENCE, lambda k: k.LayerNormalization(), **PRODUCT),
    layer("LayerNormalization of a table", TABLE, lambda k: k.LayerNormalization(), **PRODUCT),
    layer("RMSNormalization", SEQUENCE, lambda k: k.RMSNormalization(), **PRODUCT),
    layer("GroupNormalization", IMAGE, lambda k: k.GroupNormalization(3), **PRODUCT),
    layer(
        "UnitNormalization",
        SEQUENCE,
        lambda k: k.UnitNormalization(),
        **PRODUCT,
    ),
    layer("SpectralNormalization", TABLE, lambda k: k.SpectralNormalization(k.Dense(4, "relu"))),
]

CONVOLUTION = [
    layer("Conv1D", SEQUENCE, lambda k: k.Conv1D(3, 2, activation="relu")),
    layer("Conv1D, causal and dilated", SEQUENCE, lambda k: k.Conv1D(3, 2, padding="causal", dilation_rate=2)),
    layer("Conv2D", IMAGE, lambda k: k.Conv2D(4, 3, strides=2, padding="same", activation="relu")),
    layer("Conv2D, grouped", (6, 6, 4), lambda k: k.Conv2D(4, 3, groups=2, activation="relu")),
    layer("Conv2D, depthwise by groups", (6, 6, 4), lambda k: k.Conv2D(4, 3, groups=4)),
    layer(
        "Conv2D, channels first",
        (3, 6, 6),
        lambda k: k.Conv2D(4, 3, data_format="channels_first", activation="relu", use_bias=False),
    ),
    layer("Conv3D", (3, 4, 4, 2), lambda k: k.Conv3D(2, 2, activation="relu")),
    layer("DepthwiseConv1D", SEQUENCE, lambda k: k.DepthwiseConv1D(2)),
    layer("DepthwiseConv2D", IMAGE, lambda k: k.DepthwiseConv2D(3, depth_multiplier=2)),
    layer("SeparableConv1D", SEQUENCE, lambda k: k.SeparableConv1D(3, 2)),
    layer("SeparableConv2D", IMAGE, lambda k: k.SeparableConv2D(3, 2)),
    layer("Conv1DTranspose", SEQUENCE, lambda k: k.Conv1DTranspose(3, 2, strides=2)),
    layer("Conv2DTranspose", IMAGE, lambda k: k.Conv2DTranspose(2, 3, strides=2, activation="relu")),
    layer("Conv3DTranspose", (3, 3, 3, 2), lambda k: k.Conv3DTranspose(2, 2)),
    layer("UpSampling2D and Conv2DTranspose", IMAGE, lambda k: _chain(k.UpSampling2D(), k.Conv2DTranspose(2, 2))),
]

POOLING = [
    layer("MaxPooling1D", SEQUENCE, lambda k: k.MaxPooling1D()),
    layer("MaxPooling2D", IMAGE, lambda k: k.MaxPooling2D()),
    layer("MaxPooling3D", (2, 4, 4, 2), lambda k: k.MaxPooling3D()),
    layer("AveragePooling1D", SEQUENCE, lambda k: k.AveragePooling1D(2)),
    layer("AveragePooling2D", IMAGE, lambda k: k.AveragePooling2D(padding="same", pool_size=4)),
    layer("AveragePooling3D", (2, 4, 4, 2), lambda k: k.AveragePooling3D(2)),
    layer("GlobalMaxPooling2D", IMAGE, lambda k: k.GlobalMaxPooling2D()),
    layer("GlobalAveragePooling1D", SEQUENCE, lambda k: k.GlobalAveragePooling1D()),
    layer("AdaptiveAveragePooling2D", IMAGE, lambda k: k.AdaptiveAveragePooling2D(4)),
    layer("AdaptiveMaxPooling2D", IMAGE, lambda k: k.AdaptiveMaxPooling2D(4)),
]

MERGING = [
    layer(
        "Add, Subtract", TABLE, lambda k: lambda x: k.Subtract()([k.Add()([x, k.Dense(6, "relu")(x)]), k.Dense(6)(x)])
    ),
    layer("Multiply", TABLE, lambda k: lambda x: k.Multiply()([x, k.Dense(6)(x)]), **PRODUCT),
    layer("Maximum", TABLE, lambda k: lambda x: k.Maximum()([x, k.Dense(6)(x)])),
    layer("Minimum", TABLE, lambda k: lambda x: k.Minimum()([x, k.Dense(6)(x)])),
    layer("Average", TABLE, lambda k: lambda x: k.Average()([x, k.Dense(6, "relu")(x)])),
    layer("Concatenate", TABLE, lambda k: lambda x: k.Concatenate()([x, k.Dense(2, "relu")(x)])),
    layer("Dot", TABLE, lambda k: lambda x: k.Dot(1)([x, k.Dense(6)(x)]), **PRODUCT),
]

SHAPES = [
    layer("Cropping2D, ZeroPadding2D", IMAGE, lambda k: _chain(k.Cropping2D(1), k.ZeroPadding2D(2))),
    layer("Permute, Reshape", SEQUENCE, lambda k: _chain(k.Permute((2, 1)), k.Reshape((4, 2)), k.Dense(3, "relu"))),
    layer("RepeatVector", TABLE, lambda k: k.RepeatVector(2)),
    layer("UpSampling1D", SEQUENCE, lambda k: k.UpSampling1D(2)),
    layer("UpSampling2D, bilinear", IMAGE, lambda k: k.UpSampling2D(2, interpolation="bilinear")),
    layer("UpSampling3D", (2, 2, 2, 2), lambda k: k.UpSampling3D(2)),
    layer("EinsumDense", SEQUENCE, lambda k: k.EinsumDense("abc,cd->abd", (4, 3), bias_axes="d", activation="relu")),
    layer("Lambda", TABLE, lambda k: k.Lambda(_tanh), formats={}),
]


def _tanh(x: Any) -> Any:
    import keras

    return keras.ops.tanh(x)


def _glu(x: Any) -> Any:
    import keras

    return keras.ops.glu(x)


ACTIVATIONS = [
    *(
        layer(f"Dense({name})", TABLE, lambda k, name=name: k.Dense(5, name))
        for name in """relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign tanh sigmoid hard_sigmoid hard_silu
        hard_tanh exponential log_sigmoid squareplus tanh_shrink soft_shrink sparse_plus linear""".split()
    ),
    layer(
        "Dense(hard_shrink)",
        TABLE,
        lambda k: k.Dense(5, "hard_shrink"),
        warned={"integrated_gradients": "on the path the score jumps"},
    ),
    # Keras gives a layer with this activation the shape before it.
    layer("GLU", TABLE, lambda k: _chain(k.Dense(6), k.Lambda(_glu, output_shape=(3,))), formats={}, **PRODUCT),
    layer("Dense(softmax)", TABLE, lambda k: k.Dense(5, "softmax"), **SOFTMAX),
    layer("ReLU with a slope", TABLE, lambda k: k.ReLU(negative_slope=0.1)),
    layer("LeakyReLU", TABLE, lambda k: k.LeakyReLU()),
    layer("ELU", TABLE, lambda k: k.ELU()),
    layer("PReLU", TABLE, lambda k: k.PReLU(alpha_initializer="uniform")),
    layer("Softmax", TABLE, lambda k: k.Softmax(), **SOFTMAX),
]

REGULARISATION = [
    layer(
        "Dropout and noise",
        TABLE,
        lambda k: _chain(k.Dropout(0.5), k.GaussianNoise(1), k.AlphaDropout(0.5), k.GaussianDropout(0.5)),
    ),
    layer("SpatialDropout1D", SEQUENCE, lambda k: k.SpatialDropout1D(0.5)),
]


def _adapted_normalization(k: Any) -> Any:
    return k.Normalization(mean=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], variance=[1, 2, 3, 4, 5, 6])


PREPROCESSING = [
    layer("Rescaling", IMAGE, lambda k: k.Rescaling(1 / 127.5, -1)),
    layer("Normalization", TABLE, _adapted_normalization),
    layer("CenterCrop", IMAGE, lambda k: k.CenterCrop(4, 4)),
    layer("Resizing", IMAGE, lambda k: k.Resizing(4, 5)),
    *(
        layer(
            name,
            IMAGE,
            lambda k, name=name, arguments=arguments: getattr(k, name)(*arguments),
            # Keras exports them as in training.
            refused={} if name in ("RandomCrop", "RandomColorJitter") else {"SavedModel": "random"},
        )
        for name, *arguments in (
            ["RandomFlip"],
            ["RandomRotation", 0.2],
            ["RandomZoom", 0.2],
            ["RandomTranslation", 0.2, 0.2],
            ["RandomContrast", 0.2],
            ["RandomBrightness", 0.2],
            ["RandomCrop", 6, 6],
            ["RandomShear", (0, 0.2), (0, 0.2)],
            ["RandomErasing"],
            ["RandomGaussianBlur"],
            ["RandomHue", 0.2],
            ["RandomSaturation", 0.2],
            ["RandomPerspective"],
            ["RandomElasticTransform"],
            ["RandomSharpness", 0.2],
            ["RandomGrayscale"],
            ["RandomColorJitter"],
            ["RandomInvert"],
        )
    ),
    layer(
        "STFTSpectrogram",
        (8, 8),
        lambda k: _chain(k.Reshape((64, 1)), k.STFTSpectrogram("real", frame_length=16, frame_step=8, fft_length=16)),
    ),
    layer(
        "MelSpectrogram",
        (8, 8),
        lambda k: _chain(
            k.Reshape((64,)),
            # At 80 dB, the floor below the loudest of a batch would mix its examples.
            k.MelSpectrogram(num_mel_bins=4, sequence_stride=16, fft_length=32, sampling_rate=160, top_db=300),
        ),
    ),
]

TABLE_OF_LAYERS = [
    *RECURRENT,
    *ATTENTION,
    *NORMALISATION,
    *CONVOLUTION,
    *POOLING,
    *MERGING,
    *SHAPES,
    *ACTIVATIONS,
    *REGULARISATION,
    *PREPROCESSING,
]
