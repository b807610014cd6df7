"""Quantization: a version's networks in int8 beside float32, as the next version.

    python -m training.quantize models/digits/<version>

Weights, and the activations between convolutions, become int8 (Jacob et al. 2018, arXiv
1712.05877), in the ranges that digits of the training set give them. The last layer and the softmax
stay in float32: between 0.99 and 1 there are more probabilities than 256. The SavedModel and the
thresholds stay as they are. No version is written if, in int8, the fast network is wrong more often
than the accurate one where it is confident.

The first convolution has one input channel, but int8 kernels take channels by fours. Where it is
strided it is rewritten as a convolution over blocks of pixels, a block's pixels being its channels,
on images that come with the zeros that it would have padded them with. The arithmetic is the same.
"""

import argparse
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.python.util import modify_model_io_type
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from app.inference.cascade import ACCURATE, FAST, compose
from app.inference.classifier import Compute, Images
from app.inference.tflite import INT8, PADDING, SIDE, InterpreterPool, inside, tflite_file
from training import calibrate, evaluate, export, finish, validation
from training.corpora import corruptions, data

EXAMPLES = 1_000
"""Clean digits whose activations give the ranges, and as many altered ones."""
SEED = 0  # of the alterations

FLOAT32_OPS = ["MEAN", "FULLY_CONNECTED", "STRIDED_SLICE", "MUL", "LOGISTIC", "SOFTMAX"]
"""Operations behind the convolutions, which stay in float32."""


class QuantizeError(Exception):
    """A version can't be had in int8, or would be worse."""


def quantize(
    folder: Path, split: data.Split, models: Path, files: Iterable[Path] = ()
) -> export.Version:
    """Write the version in `folder`, with its networks in int8 too, as the next under `models`.

    The card's `figures` are then those of int8; those of float32 move to `float32`.

    Args:
        folder: The version.
        split: MNIST.
        models: Folder of the version folders.
        files: The collections that the version was chosen by (`training.validation`).

    Raises:
        QuantizeError: It has int8 already, has no convolution, or would be worse.
    """
    card = export.read_card(folder)
    if "int8" in card:
        raise QuantizeError(f"{folder} has int8 already")
    held_back = validation.collections(split, files)
    with export.drafted(models) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        export.write_tflite(draft, INT8, partial(convert_int8, examples=examples(split)))
        networks = load_int8(draft)
        card["float32"] = {"figures": card["figures"]}
        if "cascade" in card:
            card["float32"]["share_unsure"] = card["cascade"]["share_unsure"]
            card["cascade"]["share_unsure"] = share_unsure(
                networks, card["cascade"], split, held_back
            )
        compute = compose(networks, card)
        card["figures"] = figures(compute, card, split, held_back)
        card["int8"] = {
            "source_version": card["version"],
            "examples": 2 * EXAMPLES,
            "seed": SEED,
            "against_float32": difference(compute, export.reader(draft), split),
        }
        card["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        return export.published(draft, models, card)


def load_int8(folder: Path) -> dict[str, Compute]:
    """Return the int8 programs of the version in `folder` by the names of their networks."""
    return {
        network: InterpreterPool(
            tf.lite, tflite_file(folder, network, INT8).read_bytes(), threads=1, sizes=()
        )
        for network in export.networks_of(folder)
    }


def examples(split: data.Split) -> Images:
    """Return training digits [n,28,28], the first half clean, the second altered."""
    clean, altered = np.array_split(split.train.images[: 2 * EXAMPLES], 2)
    return np.concatenate([clean, corruptions.some(altered, np.random.default_rng(SEED))])


def convert_int8(folder: Path, signature: str, *, examples: Images) -> bytes:
    """Convert a signature of the SavedModel in `folder` to int8.

    The program takes int8 [n,28,28], or padded [n,h,h], as `app.inference.tflite` gives them.
    """
    network = without_scaling(tf.saved_model.load(str(folder)).signatures[signature])
    concrete = network.get_concrete_function()
    padded = pad(examples, concrete.inputs[0].shape[1])

    def scaled() -> Iterator[list[NDArray[np.float32]]]:
        for image in padded:
            yield [image[None] / np.float32(255)]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = scaled
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        debugger = tf.lite.experimental.QuantizationDebugger(  # the only way to exempt operations
            converter=converter,
            debug_dataset=scaled,
            debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=FLOAT32_OPS),
        )
    model: bytes = modify_model_io_type(debugger.get_nondebug_quantized_model(), tf.int8)
    return model


def pad(images: Images, side: int) -> Images:
    """Pad images [n,28,28] with zeros to [n,side,side], as the programs take them."""
    padded = np.zeros((len(images), side, side), np.uint8)
    inside(padded)[:] = images
    return padded


def without_scaling(signature: Any) -> Any:
    """Return a signature's function from its first convolution on.

    It takes images float32 [n,28,28] in 0–1, or padded as `space_to_depth` asks for.

    Raises:
        QuantizeError: There is no convolution.
    """
    graph = convert_variables_to_constants_v2(signature).graph.as_graph_def()
    first = next((node for node in graph.node if node.op == "Conv2D"), None)
    if first is None:
        raise QuantizeError("a network without convolutions is not made for int8")
    names = sorted(signature.structured_outputs)  # in the order of a graph's outputs
    outputs = ["Identity:0", *(f"Identity_{place}:0" for place in range(1, len(names)))]
    side, stride = space_to_depth(graph, first)

    @tf.function(input_signature=[tf.TensorSpec([None, side, side], tf.float32, name="images")])  # type: ignore[untyped-decorator]
    def network(images: Any) -> dict[str, Any]:
        pixels = tf.reshape(images, [-1, side, side, 1])
        blocks = tf.nn.space_to_depth(pixels, stride) if stride > 1 else pixels
        tensors = tf.graph_util.import_graph_def(graph, {f"{first.input[0]}:0": blocks}, outputs)
        return dict(zip(names, tensors, strict=True))

    return network


def space_to_depth(graph: Any, first: Any) -> tuple[int, int]:
    """Rewrite a strided first convolution as one over blocks of pixels, of padded images.

    Returns:
        The side of the images and of the blocks: 28 and 1 where the convolution stays as it is.
    """
    stride = first.attr["strides"].list.i[1]
    weights = next(node for node in graph.node if node.name == first.input[1]).attr["value"].tensor
    kernel = tf.make_ndarray(weights)
    steps = -(-SIDE // stride)
    padding = (steps - 1) * stride + len(kernel) - SIDE
    if stride == 1 or first.attr["padding"].s != b"SAME" or padding // 2 != PADDING:
        return SIDE, 1
    kernel = kernel_over_blocks(kernel, stride)
    weights.CopyFrom(tf.make_tensor_proto(kernel))
    first.attr["strides"].list.i[:] = [1, 1, 1, 1]
    first.attr["padding"].s = b"VALID"
    return (steps + len(kernel) - 1) * stride, stride


def kernel_over_blocks(kernel: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Return a strided kernel's equal over blocks of pixels: [k,k,1,m] → [b,b,stride²,m]."""
    size, _, _, many = kernel.shape
    blocks = -(-size // stride)
    padded = np.zeros((blocks * stride, blocks * stride, many), np.float32)
    padded[:size, :size] = kernel[:, :, 0]
    split = padded.reshape(blocks, stride, blocks, stride, many)
    return split.transpose(0, 2, 1, 3, 4).reshape(blocks, blocks, stride**2, many)


def share_unsure(
    networks: dict[str, Compute],
    cascade: dict[str, Any],
    split: data.Split,
    held_back: validation.Collections,
) -> evaluate.Figures:
    """Return the share of images that the accurate network is asked about, by data set.

    Raises:
        QuantizeError: The cascade's threshold is no longer sufficient.
    """
    threshold = cascade["threshold"]
    for digits in validation.sets_for_cascade(held_back):
        scores = networks[FAST](digits.images), networks[ACCURATE](digits.images)
        if not calibrate.is_sufficient(*scores, digits.labels, threshold):
            raise QuantizeError(f"in int8, the fast network is wrong where it is {threshold} sure")
    return finish.share_unsure(networks[FAST], threshold, split)


def figures(
    compute: Compute, card: export.Card, split: data.Split, held_back: validation.Collections
) -> evaluate.Figures:
    """Measure the figures that training writes into a card."""
    thresholds = finish.thresholds_of(card)
    answers = evaluate.judge(compute(split.test.images), thresholds)
    return (
        finish.on_validation(compute, thresholds, held_back)
        | {"temperature": card["figures"]["temperature"]}
        | evaluate.of_answers(answers, split.test)
    )


def difference(compute: Compute, other: Compute, split: data.Split) -> evaluate.Figures:
    """Compare two classifiers on the held-back digits, clean and altered."""
    images = np.concatenate([split.validation.images, validation.altered(split).images])
    some, others = compute(images)[:, :10], other(images)[:, :10]
    apart = np.abs(some - others).max(axis=1)
    return {
        "other_labels": evaluate.share(some.argmax(axis=1) != others.argmax(axis=1)),
        "probability_mean": round(float(apart.mean()), 6),
        "probability_largest": round(float(apart.max()), 6),
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.quantize", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("folder", type=Path, help="a version's folder")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    add("--models", type=Path, default=Path("models/digits"), help="where versions are")
    add(
        "--validation",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="what training chose by, beside MNIST's held-back digits",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    try:
        split = data.load(options.data, any_data=options.any_data)
        version = quantize(options.folder, split, options.models, options.validation)
    except (data.DataError, QuantizeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Exported to {version.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
