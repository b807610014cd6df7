"""The networks: float32 [n,28,28,1] in 0–1 → logits float32 [n,10], or [n,11]."""

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from app.inference.classifier import Images
from training.corpora.data import Digits


def build(arch: str) -> Any:
    """Return a new network; `arch` is a key of `ARCHITECTURES`."""
    inputs = keras.Input((28, 28, 1))
    return keras.Model(inputs, ARCHITECTURES[arch](inputs), name=arch)


def mlp(x: Any) -> Any:
    """The baseline: the tutorial's network, which reaches about 98%."""
    x = layers.Flatten()(x)  # [n,784]
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    return layers.Dense(10)(x)


def cnn(x: Any) -> Any:
    """Seven convolutions, 269 thousand parameters, 15 million multiply-adds an image."""
    x = conv(x, 32, 3)  # [n,26,26,32]
    x = conv(x, 32, 3)  # [n,24,24,32]
    x = conv(x, 32, 5, strides=2, padding="same")  # [n,12,12,32]
    x = conv(x, 64, 3)  # [n,10,10,64]
    x = conv(x, 64, 3)  # [n,8,8,64]
    x = conv(x, 64, 5, strides=2, padding="same")  # [n,4,4,64]
    x = conv(x, 128, 3)  # [n,2,2,128]
    x = layers.GlobalAveragePooling2D()(x)  # [n,128]
    x = layers.Dropout(0.4)(x)
    return layers.Dense(10)(x)


def slim(x: Any) -> Any:
    """The accurate network of a cascade: 6 million multiply-adds, at half the side from the start.

    The eleventh logit is that of the digit score.
    """
    x = conv(x, 32, 5, strides=2, padding="same")  # [n,14,14,32]
    x = conv(x, 48, 3)  # [n,12,12,48]
    x = conv(x, 64, 3, strides=2, padding="same")  # [n,6,6,64]
    x = conv(x, 80, 3, padding="same")  # [n,6,6,80]
    x = conv(x, 96, 3)  # [n,4,4,96]
    x = conv(x, 112, 3)  # [n,2,2,112]
    x = layers.GlobalAveragePooling2D()(x)  # [n,112]
    x = layers.Dropout(0.3)(x)
    return layers.Dense(11)(x)


def glance(x: Any) -> Any:
    """The fast network of a cascade: 1 million multiply-adds, in few and large steps.

    The first convolution has a stride of 4. The eleventh logit is as in `slim`.
    """
    x = conv(x, 32, 6, strides=4, padding="same")  # [n,7,7,32]
    x = conv(x, 64, 3)  # [n,5,5,64]
    x = conv(x, 96, 3)  # [n,3,3,96]
    x = layers.Flatten()(x)  # [n,864]
    x = layers.Dropout(0.1)(x)
    return layers.Dense(11)(x)


def conv(x: Any, channels: int, size: int, *, strides: int = 1, padding: str = "valid") -> Any:
    """Apply a convolution, batch norm and ReLU."""
    x = layers.Conv2D(
        channels,
        size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    x = layers.BatchNormalization(momentum=0.97)(x)
    return layers.ReLU()(x)


def multiply_adds(model: Any) -> int:
    """Return the multiply-adds of an image in the convolutions and dense layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * layer.kernel.shape.num_elements()
        elif isinstance(layer, layers.Dense):
            total += layer.kernel.shape.num_elements()
    return total


def batch_norms(model: Any) -> list[Any]:
    """Return the model's batch norms, in order."""
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def has_digit_score(network: Any) -> bool:
    """Tell whether the network was trained against images that are no digits."""
    return bool(network.output_shape[1] == 11)


def logits_of(network: Any, images: Images, size: int = 250) -> NDArray[np.float32]:
    """Return the logits float32 [n,10 or 11] of images [n,28,28], `size` of them at a time."""
    parts = [
        network(images[i : i + size, ..., None] / np.float32(255), training=False).numpy()
        for i in range(0, len(images), size)
    ]
    return np.concatenate(parts)


def accuracy(network: Any, digits: Digits) -> float:
    """Return the share of `digits` whose label the network finds, in 0–1."""
    labels = logits_of(network, digits.images)[:, :10].argmax(axis=1)
    return float(np.mean(labels == digits.labels))


ARCHITECTURES = {"cnn": cnn, "slim": slim, "glance": glance, "mlp": mlp}
