"""TensorFlow Lite: a network laid out once for each batch size, so that a call starts in 5 µs.

TensorFlow prepares every call anew, which for one image takes ten times as long as the arithmetic.
A TensorFlow Lite interpreter allocates memory, packs weights and picks XNNPACK's kernels for this
processor once. The files are converted when a version is exported; converting takes 140 ms, during
which nothing else runs in the process.

    assets.extra/<network>.<precision>.tflite    network: cascade.SINGLE, or FAST and ACCURATE
    assets.extra/<network>.<precision>.npz       its golden inputs and scores
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .classifier import Compute, Images, Scores

FLOAT32, INT8 = "float32", "int8"
PRECISIONS = FLOAT32, INT8

SIDE = 28
INT8_OFFSET = 128
"""int8 inputs are pixel − 128."""
PADDING = 1
"""Quantized graphs may expect 1 px of zeros at top and left, and the rest at bottom and right."""

SIZES = (16, 8, 4, 2, 1)
"""Batch sizes that are laid out. Others are split into these, 21 = 16 + 4 + 1: the cost per image
is nearly the same in each, and padding a batch by one image would cost more than a call."""


def tflite_file(folder: Path, network: str, precision: str) -> Path:
    """Return the path of a network's TensorFlow Lite file; its golden file has the suffix .npz."""
    return folder / "assets.extra" / f"{network}.{precision}.tflite"


class BatchInterpreter:
    """An interpreter for one batch size. Not safe for threads."""

    def __init__(self, lite: Any, model: bytes, size: int, *, threads: int) -> None:
        """Lay the network out.

        Args:
            lite: `tensorflow.lite`, or `ai_edge_litert.interpreter`.
            model: Content of a TensorFlow Lite file; its input is uint8 [n,28,28], or int8 [n,h,h]
                with `INT8_OFFSET` and, where h is above 28, `PADDING`.
            size: Images per call.
            threads: Threads that a call may use.
        """
        self._interpreter = lite.Interpreter(model_content=model, num_threads=threads)
        (images,) = self._interpreter.get_input_details()
        self._images, side = images["index"], images["shape"][-1]
        self._interpreter.resize_tensor_input(self._images, (size, side, side))
        self._interpreter.allocate_tensors()
        by_rank = {len(o["shape"]): o["index"] for o in self._interpreter.get_output_details()}
        self._digit_score, self._probabilities = by_rank[1], by_rank[2]
        self._padded: NDArray[np.int8] | None = None
        if images["dtype"] is np.int8:
            self._padded = np.full((size, side, side), -INT8_OFFSET, np.int8)
            self._inside = inside(self._padded.view(np.uint8))

    def __call__(self, images: Images, scores: Scores) -> None:
        """Classify `images` [size,28,28] into `scores` [size,11]."""
        if self._padded is None:
            self._interpreter.set_tensor(self._images, images)
        else:
            np.bitwise_xor(images, INT8_OFFSET, out=self._inside)  # pixel − 128 as int8
            self._interpreter.set_tensor(self._images, self._padded)
        self._interpreter.invoke()
        scores[:, :10] = self._interpreter.get_tensor(self._probabilities)
        scores[:, 10] = self._interpreter.get_tensor(self._digit_score)


class InterpreterPool:
    """One network's interpreters: for each batch size as many as calls ran at once.

    Safe to call from many threads. All sizes give an image the same scores.
    """

    def __init__(
        self, lite: Any, model: bytes, *, threads: int, sizes: Iterable[int] = SIZES
    ) -> None:
        """Lay the network out for `sizes`; other sizes of `SIZES` follow when they are needed.

        Args:
            lite: `tensorflow.lite`, or `ai_edge_litert.interpreter`.
            model: Content of a TensorFlow Lite file.
            threads: Threads that a call may use.
            sizes: Batch sizes to lay out now.

        Raises:
            ModelError: TensorFlow Lite can't run the file.
        """
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        self._interpreter = partial(BatchInterpreter, lite, model, threads=threads)
        self._idle: dict[int, list[BatchInterpreter]] = {size: [] for size in SIZES}
        self.lay_out(sizes)

    def lay_out(self, sizes: Iterable[int] = SIZES) -> None:
        """Have an interpreter ready for each of `sizes`.

        Raises:
            ModelError: TensorFlow Lite can't run the file.
        """
        try:
            for size in sizes:
                self._idle[size] = self._idle[size] or [self._interpreter(size)]
        except Exception as error:  # TensorFlow Lite raises ValueError, RuntimeError and others
            raise ModelError(f"TensorFlow Lite can't run it ({type(error).__name__}).") from error

    def __call__(self, images: Images) -> Scores:
        """Classify `images` [n,28,28]; return their scores [n,11]."""
        scores = np.empty((len(images), 11), np.float32)
        start = 0
        for size in _split(len(images)):
            self._run(size, images[start : start + size], scores[start : start + size])
            start += size
        return scores

    def _run(self, size: int, images: Images, scores: Scores) -> None:
        idle = self._idle[size]
        try:
            interpreter = idle.pop()
        except IndexError:  # all are in use by other threads
            interpreter = self._interpreter(size)
        interpreter(images, scores)
        idle.append(interpreter)


def inside(padded: Images) -> Images:
    """Return the view of `padded` [n,h,h] that images [n,28,28] are copied to."""
    place = slice(PADDING, PADDING + SIDE) if padded.shape[-1] > SIDE else slice(None)
    return padded[:, place, place]


def split_by_batch_size(full: Compute, rest: Compute) -> Compute:
    """Return the function that gives full batches of the largest of `SIZES` to `full`.

    The images that are left over go to `rest`.
    """

    def compute(images: Images) -> Scores:
        left = len(images) % SIZES[0]
        if left == len(images):
            return rest(images)
        if not left:
            return full(images)
        return np.concatenate((full(images[:-left]), rest(images[-left:])))

    return compute


def _split(count: int) -> Iterator[int]:
    """Split a batch of `count` images into `SIZES`, largest first."""
    for size in SIZES:
        yield from [size] * (count // size)
        count %= size
