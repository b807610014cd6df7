"""A version's networks in eight bits, as the next version: the same weights, a quarter of the time.

    python -m training.quantize models/digits/3

Weights, and what one convolution hands to the next, become int8 (Jacob et al. 2018, arXiv
1712.05877), in the ranges that digits of the training set show them in. The last layer and what
follows stay in float32: between 0.99 and 1 there are more probabilities than 256. Only what is
compiled is changed; the SavedModel, and with it the card's threshold of where a careful network is
asked, stays as it is. There is a version only if the quick one still is not wrong more often than
the careful one where it is sure.

The first convolution looks at one channel, and eight-bit kernels take channels by fours: what is
strided becomes a convolution over blocks of pixels, its channels, of images that come in the frame
of zeros that it would have padded them with. That is the same arithmetic.
"""

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.python.util import modify_model_io_type
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from app.inference.tflite import (
    CAREFUL,
    MARGIN,
    QUICK,
    SIDE,
    Compute,
    as_one,
    inside,
    load_programs,
)
from training import cascade, evaluate, export, train
from training.corpora import corruptions, data

EXAMPLES = 1_000
"""Digits whose activations give the ranges, and as many altered ones."""
SEED = 0  # of how they are altered

IN_FLOAT = ["MEAN", "FULLY_CONNECTED", "STRIDED_SLICE", "MUL", "LOGISTIC", "SOFTMAX"]
"""What there is behind the convolutions."""


class QuantizeError(Exception):
    """A version can't be had in eight bits, or would be worse."""


def quantize(folder: Path, split: data.Split, models: Path) -> export.Version:
    """The version in `folder` with its programs in eight bits, as the next one under `models`.

    Raises:
        QuantizeError: it is in eight bits already, has no convolution, or would answer worse.
    """
    card = json.loads((folder / "model_card.json").read_text())
    if "eight_bits" in card:
        raise QuantizeError(f"{folder} is in eight bits already")
    with export.drafted(models) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        export.write_compiled(draft, partial(in_eight_bits, examples=examples(split)))
        programs = load_programs(tf, draft, threads=1)
        read = reader(as_one(programs, card))
        with np.load(draft / "golden.npz") as golden:
            export.write_golden(draft / "assets.extra" / "golden.npz", golden["images"], read)
        if "careful" in card:
            halves = reader(programs[QUICK]), reader(programs[CAREFUL])
            card["careful"]["asked_again"] = asked_again(*halves, card["careful"], split)
        card["figures"] = figures(read, card, split)
        card["eight_bits"] = {
            "of": card["version"],
            "examples": 2 * EXAMPLES,
            "seed": SEED,
            "against_float32": difference(read, export.reader(draft), split),
        }
        card["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        return export.published(draft, models, card)


def examples(split: data.Split) -> NDArray[np.uint8]:
    """[n,28,28], the first half clean, the second altered."""
    clean, altered = np.array_split(split.train.images[: 2 * EXAMPLES], 2)
    return np.concatenate([clean, corruptions.some(altered, np.random.default_rng(SEED))])


def in_eight_bits(folder: Path, name: str, *, examples: NDArray[np.uint8]) -> bytes:
    """A signature of the saved model in `folder` for TensorFlow Lite, which takes int8 [n,28,28] or
    in a frame [n,h,h], pixels less 128: `app.compiled.Layout` has them so.
    """
    network = behind_scaling(tf.saved_model.load(str(folder)).signatures[name])
    concrete = network.get_concrete_function()
    frame = framed(examples, concrete.inputs[0].shape[1])

    def scaled() -> Iterator[list[NDArray[np.float32]]]:
        for image in frame:
            yield [image[None] / np.float32(255)]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = scaled
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        partly = tf.lite.experimental.QuantizationDebugger(  # the only way to except some of it
            converter=converter,
            debug_dataset=scaled,
            debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=IN_FLOAT),
        )
    model: bytes = modify_model_io_type(partly.get_nondebug_quantized_model(), tf.int8)
    return model


def framed(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """[n,28,28] → [n,side,side], as the programs take them."""
    frames = np.zeros((len(images), side, side), np.uint8)
    inside(frames)[:] = images
    return frames


def behind_scaling(signature: Any) -> Any:
    """What a signature does from its first convolution on: of images float32 [n,28,28] in 0–1, or
    of such in the frame that `over_blocks` asks for.

    Raises:
        QuantizeError: there is no convolution.
    """
    graph = convert_variables_to_constants_v2(signature).graph.as_graph_def()
    first = next((node for node in graph.node if node.op == "Conv2D"), None)
    if first is None:
        raise QuantizeError("a network without convolutions is not made for eight bits")
    names = sorted(signature.structured_outputs)  # in the order of a graph's outputs
    outputs = ["Identity:0", *(f"Identity_{place}:0" for place in range(1, len(names)))]
    side, stride = over_blocks(graph, first)

    @tf.function(input_signature=[tf.TensorSpec([None, side, side], tf.float32, name="images")])  # type: ignore[untyped-decorator]
    def network(images: Any) -> dict[str, Any]:
        pixels = tf.reshape(images, [-1, side, side, 1])
        blocks = tf.nn.space_to_depth(pixels, stride) if stride > 1 else pixels
        found = tf.graph_util.import_graph_def(graph, {f"{first.input[0]}:0": blocks}, outputs)
        return dict(zip(names, found, strict=True))

    return network


def over_blocks(graph: Any, first: Any) -> tuple[int, int]:
    """Where the first convolution is strided, make it one over blocks of pixels, of images in a
    frame. Returns the side of these, and of blocks: 28 and 1 where it stays as it is."""
    stride = first.attr["strides"].list.i[1]
    weights = next(node for node in graph.node if node.name == first.input[1]).attr["value"].tensor
    kernel = tf.make_ndarray(weights)
    steps = -(-SIDE // stride)
    padding = (steps - 1) * stride + len(kernel) - SIDE
    if stride == 1 or first.attr["padding"].s != b"SAME" or padding // 2 != MARGIN:
        return SIDE, 1
    kernel = blocks_of(kernel, stride)
    weights.CopyFrom(tf.make_tensor_proto(kernel))
    first.attr["strides"].list.i[:] = [1, 1, 1, 1]
    first.attr["padding"].s = b"VALID"
    return (steps + len(kernel) - 1) * stride, stride


def blocks_of(kernel: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """A kernel over one channel, [k,k,1,m], that is moved by `stride` → the same over blocks of
    pixels, [b,b,stride²,m], moved by one.
    """
    size, _, _, many = kernel.shape
    blocks = -(-size // stride)
    padded = np.zeros((blocks * stride, blocks * stride, many), np.float32)
    padded[:size, :size] = kernel[:, :, 0]
    split = padded.reshape(blocks, stride, blocks, stride, many)
    return split.transpose(0, 2, 1, 3, 4).reshape(blocks, blocks, stride**2, many)


def reader(compute: Compute) -> cascade.Reader:
    def read(images: NDArray[np.uint8]) -> cascade.Answer:
        rows = compute(images)
        return rows[:, :10], rows[:, 10]

    return read


def asked_again(
    quick: cascade.Reader, other: cascade.Reader, careful: dict[str, Any], split: data.Split
) -> train.Figures:
    """How often the careful network is asked.

    Raises:
        QuantizeError: where it is not, the quick one is wrong more often.
    """
    sure = careful["asked_below"]
    held_back = split.validation, train.altered_validation(split)
    if cascade.enough(quick, other, held_back, least=sure) > sure:
        raise QuantizeError(f"in eight bits, the quick network is wrong where it is {sure} sure")
    return train.shares_asked(quick, sure, split)


def figures(read: cascade.Reader, card: export.Card, split: data.Split) -> train.Figures:
    """The same that training leaves in a card."""
    thresholds = card["thresholds"]
    answers = evaluate.answers_of(read(split.test.images), thresholds)
    return (
        train.on_validation(read, thresholds, split)
        | {"temperature": card["figures"]["temperature"]}
        | evaluate.of_answers(answers, split.test)
    )


def difference(read: cascade.Reader, other: cascade.Reader, split: data.Split) -> train.Figures:
    """Between two readers' answers to the held-back digits, clean and altered."""
    images = np.concatenate([split.validation.images, train.altered_validation(split).images])
    (some, _), (others, _) = read(images), other(images)
    apart = np.abs(some - others).max(axis=1)
    return {
        "other_labels": evaluate.share(some.argmax(axis=1) != others.argmax(axis=1)),
        "probability_mean": round(float(apart.mean()), 6),
        "probability_largest": round(float(apart.max()), 6),
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.quantize", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("folder", type=Path, help="a version's folder")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    add("--models", type=Path, default=Path("models/digits"), help="where versions are")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        split = data.load(options.data, any_data=options.any_data)
        version = quantize(options.folder, split, options.models)
    except (data.DataError, QuantizeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Exported to {version.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
