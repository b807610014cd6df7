"""The row net: taught to read whole rows without cutting them.

    python -m training.corpora.strips --data mnist.npz --fonts .fonts --seed 1 --out .strips
    python -m training.rownet --data mnist.npz --usps usps.npz --strips .strips --seed 1

A convolutional network gives for every second column of a strip the probabilities of the ten digits
and of none; what it learns is a row's text, whichever columns its digits are in (connectionist
temporal classification, CTC: Graves and others 2006). Half of its rows are of the pool, the others
are put together anew, most of them of digits that touch or overlap. All are slanted, stretched,
thickened and blurred a little. The weights that are exported are the average of the last ones.

`--checkpoint` keeps the weights, and goes on from them where they are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from app.inference.rownet import GOLDEN_FILE, NET_FILE, WIDTHS
from app.vision.grayscale import GrayImage
from app.vision.strip import RIM, STRIP_HEIGHT, strip_of
from training import progress
from training.corpora import Rng, rows, strips, strokes
from training.corpora.data import Digits
from training.corpora.strips import Hands, Strips
from training.numbers import made, sets

CLASSES = 11
BLANK = 10
BATCH = 32
SORTED = 32
"""Batches that are sorted by width together, so that a batch is hardly padded."""
RATE, WARM_UP = 2e-3, 300
DECAY = 1e-4
MOMENTUM = 0.98
"""Of the averages of batch normalization, the share that stays at each step."""
AVERAGED = 0.998
"""Of the average of the weights, the share that stays at each step."""
FRESH = 0.6
"""Share of rows that are put together anew."""
SLANT, STRETCH, SHIFT = 0.22, 0.16, 1.5
"""How much a strip is slanted, stretched and moved up or down, in pixels, at most."""
GOLDEN = 4
"""Strips whose answers the net has to give whenever it is loaded."""
CHECKED = 1_000
"""Steps between two checks on validation rows."""


def network(*, dilated: bool = True) -> keras.Model:
    """The network: strips uint8 [n,28,w] → logits [n,⌈w/2⌉,11].

    Args:
        dilated: Let the last convolution leave out every second column; otherwise it has weights
            for these, too, for TensorFlow Lite, where dilation is dearer.
    """
    strip = keras.Input((STRIP_HEIGHT, None), dtype="uint8", name="strip")
    x = keras.layers.Rescaling(1 / 255)(keras.ops.expand_dims(strip, -1))
    x = _convolved(x, 32, 5, strides=2)  # [n,14,w/2,32]
    x = _convolved(x, 32, 3)
    x = _convolved(x, 64, 3, strides=(2, 1))  # [n,7,w/2,64]
    x = keras.layers.add([x, _convolved(x, 64, 3)])
    x = _convolved(x, 96, 3, strides=(2, 1))  # [n,4,w/2,96]
    x = keras.layers.SpatialDropout2D(0.1)(x)
    x = keras.layers.ZeroPadding2D((0, 1))(x)
    x = _convolved(x, 128, (4, 3), padding="valid")  # [n,1,w/2,128]
    x = keras.layers.add([x, _convolved(x, 128, (1, 3))])
    last = ((1, 3), {"dilation_rate": (1, 2)}) if dilated else ((1, 5), {})
    x = keras.layers.add([x, _convolved(x, 128, last[0], **last[1])])
    x = keras.layers.Dropout(0.2)(x)
    logits = keras.layers.Conv2D(CLASSES, 1, dtype="float32")(x)
    return keras.Model(strip, logits[:, 0])


def _convolved(x: Any, filters: int, size: Any, **options: Any) -> Any:
    options = {"padding": "same"} | options
    x = keras.layers.Conv2D(filters, size, use_bias=False, **options)(x)
    return keras.layers.ReLU()(BatchNorm()(x))


class BatchNorm(keras.layers.Layer):  # type: ignore[misc]
    """Batch normalization as one operation: Keras' own takes half of a step's time in bfloat16."""

    def __init__(self) -> None:
        super().__init__(autocast=False)

    def build(self, shape: Sequence[int | None]) -> None:
        """Make the weights, and the averages that are used after teaching."""
        size = shape[-1:]
        self.scale = self.add_weight(size, "ones", dtype="float32")
        self.offset = self.add_weight(size, "zeros", dtype="float32")
        self.mean = self.add_weight(size, "zeros", dtype="float32", trainable=False)
        self.variance = self.add_weight(size, "ones", dtype="float32", trainable=False)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Normalize `x` [n,h,w,c]."""
        scale, offset = self.scale.value, self.offset.value
        if not training:
            averages = {"mean": self.mean.value, "variance": self.variance.value}
            return tf.compat.v1.nn.fused_batch_norm(
                x, scale, offset, **averages, epsilon=1e-3, is_training=False
            )[0]
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, scale, offset, epsilon=1e-3)
        for average, new in ((self.mean, mean), (self.variance, variance)):
            average.assign(MOMENTUM * average + (1 - MOMENTUM) * new)
        return y


# ------------------------------------------------------------------------------- the rows


def fresh(source: Hands, rng: Rng) -> tuple[str, GrayImage]:
    """Put a row together of digits as they are, and bring it to a strip."""
    text, digits = source.draw(strips.length(rng), rng)
    kind = rng.random()
    if kind < 0.2:
        row = rows.joined(digits, rows.SPACED if kind < 0.1 else rows.CLOSE, rng)
    else:
        depth = rows.TOUCHING if kind < 0.5 else rows.OVERLAPPING
        pairs = int(rng.integers(1, 4))
        row = rows.joined(digits, rows.CLOSE, rng, depth=depth, pairs=pairs)
    y, x = np.nonzero(row > 48)
    ink = row[y.min() : y.max() + 1, x.min() : x.max() + 1]
    return text, strip_of(ink.astype(np.float32))


def altered(strip: GrayImage, rng: Rng) -> GrayImage:
    """Slant and stretch a strip [28,w], make its strokes heavier or lighter, and blur it."""
    slant = rng.uniform(-SLANT, SLANT)
    wide, high = np.exp(rng.uniform(-STRETCH, STRETCH, 2))
    width = max(12, round(strip.shape[1] * wide + abs(slant) * STRIP_HEIGHT / 2))
    middle = STRIP_HEIGHT / 2
    down = middle * (1 - high) + rng.uniform(-SHIFT, SHIFT)
    across = width / 2 - wide * strip.shape[1] / 2 + slant * middle
    matrix = np.array([[wide, -slant, across], [0, high, down]])
    moved: Any = cv2.warpAffine(strip, matrix, (width, STRIP_HEIGHT)).astype(np.float32)
    change = rng.random()
    if change < 0.15:
        moved = cv2.dilate(moved, np.ones((2, 2), np.uint8))
    elif change < 0.25:
        moved = cv2.erode(moved, np.ones((2, 2), np.uint8))
    if rng.random() < 0.3:
        moved = cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.3, 0.9))
    if rng.random() < 0.5:
        moved = 255 * (moved / 255) ** rng.uniform(0.5, 1.6)
    moved *= rng.uniform(0.7, 1.1)
    if rng.random() < 0.2:
        moved += rng.normal(0, rng.uniform(1, 8), moved.shape)
    if rng.random() < 0.1:
        _marked(moved, rng)
    return np.asarray(np.clip(moved, 0, 255), np.uint8)


def _marked(strip: NDArray[np.floating], rng: Rng) -> None:
    """Put a comma, a point or a dash, which are not in the text, into a gap."""
    free = np.flatnonzero((strip > 40).sum(axis=0) == 0)
    free = free[(free > RIM) & (free < strip.shape[1] - RIM)]
    if len(free):
        x = int(free[rng.integers(len(free))])
        y, ends = (14, (4, 0)) if rng.random() < 0.3 else (int(rng.integers(21, 25)), (0, 2))
        end = x + int(rng.integers(ends[0] + 1)), y + int(rng.integers(ends[1] + 1))
        cv2.line(strip, (x, y), end, 255, int(rng.integers(1, 4)), cv2.LINE_AA)


def batches(pool: Strips, source: Hands, rng: Rng) -> Iterator[tuple[GrayImage, list[str]]]:
    """Yield batches of strips [n,28,w] of about the same width, and their texts."""
    while True:
        some: list[tuple[str, GrayImage]] = []
        while len(some) < BATCH * SORTED:
            if rng.random() < FRESH:
                text, strip = fresh(source, rng)
            else:
                index = int(rng.integers(len(pool.texts)))
                text, strip = pool.texts[index], pool.images[index]
            strip = altered(strip, rng)
            # Two equal digits beside each other need a column more.
            if strip.shape[1] // 2 > 2 * len(text):
                some.append((text, strip))
        some.sort(key=lambda pair: pair[1].shape[1])
        for place in rng.permutation(SORTED):
            part = some[place * BATCH : (place + 1) * BATCH]
            yield together([strip for _, strip in part]), [text for text, _ in part]


def together(some: Sequence[GrayImage]) -> GrayImage:
    """Strips [28,w] as one array [n,28,w], padded to a multiple of eight columns."""
    width = -(-max(strip.shape[1] for strip in some) // 8) * 8
    whole = np.zeros((len(some), STRIP_HEIGHT, width), np.uint8)
    for place, strip in zip(whole, some, strict=True):
        place[:, : strip.shape[1]] = strip
    return whole


def sparse(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Texts as the parts of a sparse tensor: indices, values, shape.

    CTC's kernel takes no empty text: one has a digit in its place, and its loss is not used.
    """
    texts = [text or "0" for text in texts]
    indices = [(row, place) for row, text in enumerate(texts) for place in range(len(text))]
    values = [int(digit) for text in texts for digit in text]
    shape = np.array([len(texts), max(map(len, texts))], np.int64)
    return np.array(indices, np.int64).reshape(-1, 2), np.array(values, np.int32), shape


# ------------------------------------------------------------------------------- teaching


class Teacher:
    """Teaches a network by CTC, and keeps the average of its weights."""

    def __init__(self, net: keras.Model, steps: int) -> None:
        self.net = net
        self.average = network()
        self.average.set_weights(net.get_weights())
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - WARM_UP, warmup_target=RATE, warmup_steps=WARM_UP
        )
        self.optimizer = keras.optimizers.AdamW(rate, weight_decay=DECAY, clipnorm=1.0)
        self.optimizer.build(net.trainable_variables)
        self.number = tf.Variable(0, dtype=tf.int64)

    @tf.function(
        input_signature=(
            tf.TensorSpec([None, STRIP_HEIGHT, None], tf.uint8),
            tf.TensorSpec([None, 2], tf.int64),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([2], tf.int64),
            tf.TensorSpec([None], tf.bool),
        )
    )  # type: ignore[untyped-decorator]
    def step(self, images: Any, indices: Any, values: Any, shape: Any, empty: Any) -> Any:
        """One step on a batch; its mean loss in nats a row."""
        variables = self.net.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.net(images, training=True)
            lengths = tf.fill(tf.shape(logits)[:1], tf.shape(logits)[1])
            text = tf.SparseTensor(indices, values, shape)
            losses = tf.compat.v1.nn.ctc_loss(
                text, logits, lengths, ignore_longer_outputs_than_inputs=True, time_major=False
            )
            nothing = -tf.reduce_sum(tf.nn.log_softmax(logits)[..., BLANK], axis=1)
            loss = tf.reduce_mean(tf.where(empty, nothing, losses))
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.number.assign_add(1)
        # The average follows quickly at first.
        count = tf.cast(self.number, tf.float32)
        keep = tf.minimum(AVERAGED, count / (count + 10))
        for old, new in zip(self.average.variables, self.net.variables, strict=True):
            if old.dtype == "float32":
                old.assign(keep * old + (1 - keep) * new)
        return loss


def greedy(logits: NDArray[np.float32]) -> list[str]:
    """The texts of the likeliest classes of each column, [n,t,11]."""
    texts = []
    for best in logits.argmax(axis=2):
        kept = best[np.diff(best, prepend=BLANK) != 0]
        texts.append("".join(str(label) for label in kept if label != BLANK))
    return texts


Checks = dict[str, tuple[list[str], GrayImage]]


def checks(mnist: Digits, usps: Digits, count: int) -> Checks:
    """Validation rows of the digits that weights are fitted on."""
    found: Checks = {}
    plan = [
        *(("MNIST", mnist, kind) for kind in ("close", "touching", "overlapping", "pencil")),
        ("USPS", usps, "touching"),
    ]
    for name, digits, kind in plan:
        pairs = [(t, strips.strip(p)) for t, p in made(digits, kind, range(2, 7), count, 4321)]
        found[f"{kind} {name}"] = [t for t, _ in pairs], together([strip for _, strip in pairs])
    return found


def checked(net: keras.Model, some: Checks) -> dict[str, float]:
    """The share of validation rows whose whole number is right, of each kind."""
    figures = {}
    for name, (texts, images) in some.items():
        read = greedy(np.asarray(net(images, training=False)))
        figures[name] = float(np.mean([a == b for a, b in zip(read, texts, strict=True)]))
    return figures


def teach(
    pool: Strips, source: Hands, some: Checks, *, steps: int, seed: int, checkpoint: Path | None
) -> keras.Model:
    """Teach a network; return it with its averaged weights."""
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    teacher = Teacher(network(), steps)
    keeper = None
    if checkpoint is not None:
        state = tf.train.Checkpoint(
            net=teacher.net, average=teacher.average, optimizer=teacher.optimizer,
            number=teacher.number,
        )  # fmt: skip
        keeper = tf.train.CheckpointManager(state, str(checkpoint), max_to_keep=2)
        keeper.restore_or_initialize()
    start = int(teacher.number)
    rng = np.random.default_rng((seed, start))
    losses: list[float] = []
    began = time.process_time()
    for number, (images, texts) in enumerate(batches(pool, source, rng), start + 1):
        if number > steps:
            break
        empty = np.array([not text for text in texts])
        losses.append(float(teacher.step(images, *sparse(texts), empty)))
        if number % 100 == 0:
            seconds = (time.process_time() - began) / (number - start)
            figures = {"nats a row": float(np.mean(losses[-100:])), "CPU s": seconds}
            progress.line(f"step {number}", figures)
        if number % CHECKED == 0 or number == steps:
            progress.line(f"step {number}", checked(teacher.average, some))
            if keeper is not None:
                keeper.save()
    return teacher.average


def undilated(weights: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Weights of a convolution that leaves out columns as those of one that does not."""
    if weights.shape == shape:
        return weights
    wide = np.zeros(shape, np.float32)
    wide[:, ::2] = weights
    return wide


def export(net: keras.Model, folder: Path) -> None:
    """Write the network as TensorFlow Lite runs it, and golden strips with their scores."""
    keras.mixed_precision.set_global_policy("float32")
    plain = network(dilated=False)
    pairs = zip(plain.get_weights(), net.get_weights(), strict=True)
    plain.set_weights([undilated(new, old.shape) for old, new in pairs])
    scores = tf.function(lambda strip: tf.nn.log_softmax(plain(strip, training=False)))
    strip = tf.TensorSpec([1, STRIP_HEIGHT, None], tf.uint8, name="strip")
    frozen = convert_variables_to_constants_v2(scores.get_concrete_function(strip))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], plain)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    (folder / NET_FILE.name).write_bytes(converter.convert())
    write_golden(plain, folder)


def write_golden(net: keras.Model, folder: Path) -> None:
    """Write golden strips and the network's answers: skeletons, for no data set is kept here."""
    rng = np.random.default_rng(GOLDEN)
    ways = [f"{label} plain" for label in (1, 2, 5)]
    some = [
        rows.joined([strokes.drawn(way, rng) for way in ways], rows.CLOSE, rng)
        for _ in range(GOLDEN)
    ]
    images = together([strip_of(np.asarray(row, np.float32)) for row in some])
    # As wide as an interpreter is laid out for: what is beside a strip reaches into its end.
    width = next(width for width in WIDTHS if width >= images.shape[2])
    golden = np.pad(images, ((0, 0), (0, 0), (0, width - images.shape[2])))
    columns = np.asarray(tf.nn.softmax(net(golden, training=False)), np.float32)
    np.savez_compressed(folder / GOLDEN_FILE.name, strips=golden, columns=columns)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.rownet", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--usps", type=Path, required=True, help="to validate on")
    parser.add_argument("--fonts", type=Path, default=Path(".fonts"), help="folder of the fonts")
    parser.add_argument("--strips", type=Path, required=True, help="folder of the pool")
    parser.add_argument("--steps", type=int, default=16_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, help="folder to keep the weights in")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    digits = sets(args.data, args.usps)
    some = checks(*digits.calibrated, 200)
    source = strips.hands(digits.learned, args.fonts, args.seed + 1)
    net = teach(
        strips.read(args.strips), source, some,
        steps=args.steps, seed=args.seed, checkpoint=args.checkpoint,
    )  # fmt: skip
    export(net, NET_FILE.parent)


if __name__ == "__main__":
    main()
