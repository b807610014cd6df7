"""Pretrained networks: to go on training where a version's folder is all that is left of a run.

A version has its networks with batch norms folded into convolutions. `restore` takes the weights
from the float32 TensorFlow Lite files, and gives each batch norm the mean and variance that its
convolution has on examples, and the gain and offset that undo them: the network computes what the
version does, and its batch norms are as after training. MNIST is replayed beside what is new, or
it would be forgotten (McCloskey and Cohen 1989).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.python.schema_py_generated import BuiltinOperator
from tensorflow.lite.tools import flatbuffer_utils

from app.inference.cascade import ACCURATE, FAST, SINGLE
from app.inference.classifier import Images
from app.inference.tflite import FLOAT32, tflite_file
from training import export, model
from training.corpora import data, mixture, outliers, scenes

SCENES, OUTLIERS = 6_000, 3_000
"""Images of the pools that are made for the replay where no others are named."""
EXAMPLES = 2_000
"""Images on which the batch norms are measured, more or less."""

Weights = tuple[NDArray[np.float32], NDArray[np.float32]]
"""A layer's kernel and bias, shaped as Keras has them."""


def networks_of(folder: Path) -> dict[str, str]:
    """Return the architecture of each network of a version, in the order in which they learn.

    Raises:
        DataError: The folder has no card, or it names no architecture.
    """
    try:
        card = export.read_card(folder)
        if "cascade" in card:
            return {ACCURATE: card["cascade"]["arch"], FAST: card["arch"]}
        return {SINGLE: card["arch"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise data.DataError(f"{folder}: no card of a version to go on from") from error


def examples_of(batches: Any) -> Images:
    """Return about `EXAMPLES` images uint8 [n,28,28] of an epoch's batches."""
    taken: list[Images] = []
    for images, _ in batches:
        taken.append(np.rint(images.numpy()[..., 0] * 255).astype(np.uint8))
        if sum(map(len, taken)) >= EXAMPLES:
            break
    return np.concatenate(taken)


def restore(folder: Path, name: str, arch: str, images: Images) -> Any:
    """Return a network of a version, ready to be trained on.

    Args:
        folder: The version's folder.
        name: `SINGLE`, `FAST` or `ACCURATE`.
        arch: The network's architecture.
        images: [n,28,28], examples of all that it will learn. Trained on, and measured again, the
            batch norms have those images' mean and variance; restored on others, the weights that
            are kept of the version (`fit.mix`) would no longer compute what it does.

    Raises:
        DataError: The folder's network is not of that architecture.
    """
    network = model.build(arch)
    x = tf.constant(images[..., None] / np.float32(255))
    try:
        weights = _weights(tflite_file(folder, name, FLOAT32))
        for layer, after in zip(network.layers, [*network.layers[1:], None], strict=True):
            if isinstance(layer, keras.layers.Conv2D):
                kernel, bias = next(weights)
                layer.set_weights([kernel])
                after.set_weights(_norm(layer(x), bias, after.epsilon))
            elif isinstance(layer, keras.layers.Dense):
                layer.set_weights(list(next(weights)))
            if not isinstance(layer, keras.layers.InputLayer):
                x = layer(x, training=False)
    except (OSError, ValueError, StopIteration) as error:
        raise data.DataError(
            f"{folder}: its {name} network is no {arch!r} to go on from"
        ) from error
    return network


def _norm(outputs: Any, bias: NDArray[np.float32], epsilon: float) -> list[NDArray[np.float32]]:
    """Return gain, offset, mean and variance that together add `bias` to `outputs` [n,h,w,c]."""
    mean, variance = (moment.numpy() for moment in tf.nn.moments(outputs, axes=[0, 1, 2]))
    return [np.sqrt(variance + epsilon), bias + mean, mean, variance]


def _weights(file: Path) -> Iterator[Weights]:
    """Yield the weights of a TensorFlow Lite file's convolutions and dense layers, in order."""
    program = flatbuffer_utils.read_model_from_bytearray(bytearray(file.read_bytes()))
    (graph,) = program.subgraphs
    levels = np.float32(255)  # the converter multiplies the first kernel by the scaling to 0–1
    for operator in graph.operators:
        kind = program.operatorCodes[operator.opcodeIndex].builtinCode
        if kind in (BuiltinOperator.DIV, BuiltinOperator.MUL):
            levels = np.float32(1)  # it has not
        if kind in (BuiltinOperator.CONV_2D, BuiltinOperator.FULLY_CONNECTED):
            _, kernel_index, bias_index = operator.inputs
            kernel = _constant(program, graph.tensors[kernel_index])  # [out,h,w,in] or [out,in]
            has_bias = bias_index >= 0  # the converter leaves out zeros
            zeros = np.zeros(len(kernel), np.float32)
            bias = _constant(program, graph.tensors[bias_index]) if has_bias else zeros
            yield np.moveaxis(kernel, 0, -1) * levels, bias
            levels = np.float32(1)


def _constant(program: Any, tensor: Any) -> NDArray[np.float32]:
    values = np.asarray(program.buffers[tensor.buffer].data, np.uint8).view(np.float32)
    return values.reshape(tensor.shape)


def pools(digits: data.Digits, seed: int) -> mixture.Pools:
    """Make small pools of scenes and outliers, a minute's work, from digits of MNIST."""
    print(f"Making {SCENES:,} scenes and {OUTLIERS:,} outliers to replay", flush=True)
    rendered = scenes.pool(digits.images, digits.labels, count=SCENES, seed=seed)
    unknown, _ = outliers.sample(
        OUTLIERS, np.random.default_rng(seed), digits.images, digits.labels
    )
    return mixture.Pools(data.Digits(rendered.digits, rendered.labels), unknown)
