"""A signature as TensorFlow Lite runs it: begun in 5 µs, in float32 or in eight bits.

TensorFlow prepares every call anew, which for one image takes ten times as long as the arithmetic.
TensorFlow Lite lays a network out once for a batch size: memory, packed weights, and XNNPACK's
kernels for this processor. The export has converted what it was given; to convert takes 140 ms in
which nothing else runs in a process. What `training.quantize` converted has eight-bit weights and
activations.

    assets.extra/serving_default.tflite ──▶ Program
    assets.extra/{quick,careful}.tflite ──▶ two, and between them what the graph of such a version
                                            does: the careful one is asked where the quick one is
                                            not sure
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

Images = NDArray[np.uint8]
Rows = NDArray[np.float32]
Compute = Callable[[Images], Rows]
"""Images [n,28,28] in; out, [n,11], of each the ten probabilities and the digit score."""

SIGNATURE = "serving_default"
QUICK, CAREFUL = "quick", "careful"
"""A cascade's two networks; in its card it says when the second is asked."""

SIDE = 28
LESS, MARGIN = 128, 1
"""Programs in eight bits take pixels less so much, and may want so many pixels of nothing before an
image's first row and column, and what there is room for behind the last."""

SIZES = (16, 8, 4, 2, 1)
"""Batch sizes that are laid out. Others are made of these, 21 = 16 + 4 + 1: an image costs nearly
the same in each, and an image more to fill one up would cost more than a call."""


def load_programs(tf: Any, folder: Path, *, threads: int) -> dict[str, Compute]:
    """The programs of the version in `folder` by the names of their signatures. Raises ModelError
    where one can't be run.
    """
    return {
        path.stem: Program(tf, path.read_bytes(), threads=threads)
        for path in (folder / "assets.extra").glob("*.tflite")
    }


def as_one(programs: Mapping[str, Compute], card: Mapping[str, Any]) -> Compute:
    """What a version's programs answer together. Raises ModelError where one of them, or a word of
    the card, is missing.
    """
    try:
        if SIGNATURE in programs:
            return programs[SIGNATURE]
        return cascade(programs[QUICK], programs[CAREFUL], card["careful"]["asked_below"])
    except KeyError as error:
        raise ModelError(f"The card or a program lacks {error}.") from error


class Program:
    """One signature, laid out for each of SIZES as often as calls ran at once."""

    def __init__(self, tf: Any, model: bytes, *, threads: int) -> None:
        """`model` is a TensorFlow Lite file, each call of which may use `threads`.

        Raises ModelError where it can't be run.
        """
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        self._layout = partial(Layout, tf, model, threads=threads)
        try:
            self._idle = {size: [self._layout(size)] for size in SIZES}
        except Exception as error:  # what it raises is its own business
            raise ModelError(f"TensorFlow Lite can't run it ({type(error).__name__}).") from error

    def __call__(self, images: Images) -> Rows:
        rows = np.empty((len(images), 11), np.float32)
        start = 0
        for size in _parts(len(images)):
            self._run(size, images[start : start + size], rows[start : start + size])
            start += size
        return rows

    def _run(self, size: int, images: Images, rows: Rows) -> None:
        idle = self._idle[size]
        try:
            layout = idle.pop()
        except IndexError:  # all at work in other threads
            layout = self._layout(size)
        layout(images, rows)
        idle.append(layout)


class Layout:
    """A program's memory and kernels for one batch size, for one thread at a time."""

    def __init__(self, tf: Any, model: bytes, size: int, *, threads: int) -> None:
        self._interpreter = tf.lite.Interpreter(model_content=model, num_threads=threads)
        (images,) = self._interpreter.get_input_details()
        self._images, side = images["index"], images["shape"][-1]
        self._interpreter.resize_tensor_input(self._images, (size, side, side))
        self._interpreter.allocate_tensors()
        outputs = {
            len(one["shape"]): one["index"] for one in self._interpreter.get_output_details()
        }
        self._score, self._probabilities = outputs[1], outputs[2]
        self._frame: NDArray[np.int8] | None = None
        if images["dtype"] is np.int8:
            self._frame = np.full((size, side, side), LESS - 256, np.int8)
            self._inside = inside(self._frame.view(np.uint8))

    def __call__(self, images: Images, rows: Rows) -> None:
        """Fill in the rows of as many images as it is for."""
        if self._frame is None:
            self._interpreter.set_tensor(self._images, images)
        else:
            np.bitwise_xor(images, LESS, out=self._inside)
            self._interpreter.set_tensor(self._images, self._frame)
        self._interpreter.invoke()
        rows[:, :10] = self._interpreter.get_tensor(self._probabilities)
        rows[:, 10] = self._interpreter.get_tensor(self._score)


def inside(frames: Images) -> Images:
    """The part of frames [n,h,h] that images [n,28,28] go to; all of it where there is no room."""
    place = slice(MARGIN, MARGIN + SIDE) if frames.shape[-1] > SIDE else slice(None)
    return frames[:, place, place]


def by_size(large: Compute, small: Compute) -> Compute:
    """The large one for as many of the largest of SIZES as there are, the small one for the rest:
    which of two is quicker may depend on it.
    """

    def compute(images: Images) -> Rows:
        rest = len(images) % SIZES[0]
        if rest == len(images):
            return small(images)
        if not rest:
            return large(images)
        return np.concatenate((large(images[:-rest]), small(images[-rest:])))

    return compute


def cascade(quick: Compute, careful: Compute, sure: float) -> Compute:
    """The quick one's answers where both its greatest probability and its digit score are `sure`,
    the careful one's elsewhere.
    """

    def compute(images: Images) -> Rows:
        rows = quick(images)
        unsure = np.flatnonzero(np.minimum(rows[:, :10].max(axis=1), rows[:, 10]) < sure)
        if len(unsure):
            rows[unsure] = careful(images[unsure])
        return rows

    return compute


def _parts(images: int) -> Iterable[int]:
    for size in SIZES:
        yield from [size] * (images // size)
        images %= size
