"""The row net: the digits of a whole row, without cutting it.

It gives for every second column of a row's strip (`vision.strip`) the probability of each digit and
of none; `ctc` says which texts they say. Where digits overlap, a cut leaves of each what often
looks like another; this network has learned from such rows (`training.rownet`). It has 370,000
weights, is run by TensorFlow Lite, and its file is in the package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .figures import Floats

NET_FILE = Path(__file__).with_name("rownet.tflite")
GOLDEN_FILE = Path(__file__).with_name("rownet.npz")
GOLDEN_TOLERANCE = 0.02
"""Largest difference from a golden probability: processors differ by their order of summation."""
WIDTHS = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Columns of the strips that interpreters are laid out for; a strip is padded to one of these."""
USUAL_WIDTHS = WIDTHS[:4]
"""Those that are laid out at the start: rows of up to some ten digits."""
STRIP_HEIGHT = 28
"""Pixels of a strip's height; `vision.strip` makes them so."""
STRIDE = 2
"""Columns of a strip for one of the answer."""


class StripInterpreter:
    """An interpreter for strips of one width. Not safe for threads."""

    def __init__(self, lite: Any, model: bytes, width: int) -> None:
        self._interpreter = lite.Interpreter(model_content=model, num_threads=1)
        (strips,) = self._interpreter.get_input_details()
        (scores,) = self._interpreter.get_output_details()
        self._strips, self._scores = strips["index"], scores["index"]
        self._interpreter.resize_tensor_input(self._strips, (1, STRIP_HEIGHT, width))
        self._interpreter.allocate_tensors()
        self._padded = np.zeros((1, STRIP_HEIGHT, width), np.uint8)

    def __call__(self, strip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The log probabilities of the columns of `strip` [h,w], [w/2,11]."""
        width = strip.shape[1]
        self._padded[0, :, :width] = strip
        self._padded[0, :, width:] = 0
        self._interpreter.set_tensor(self._strips, self._padded)
        self._interpreter.invoke()
        scores: NDArray[np.float32] = self._interpreter.get_tensor(self._scores)
        return scores[0, : -(-width // STRIDE)]


class RowNet:
    """The row net, with an interpreter for each width and each call at once. Safe for threads.

    Args:
        lite: `tensorflow.lite`, or `ai_edge_litert.interpreter`.
        model: Content of a TensorFlow Lite file: strips uint8 [1,h,w] → log probabilities.
        widths: Widths to lay out now.

    Raises:
        ModelError: TensorFlow Lite can't run the file.
    """

    def __init__(self, lite: Any, model: bytes, *, widths: Iterable[int] = USUAL_WIDTHS) -> None:
        self.sha256 = hashlib.sha256(model).hexdigest()
        self._interpreter = partial(StripInterpreter, lite, model)
        self._idle: dict[int, list[StripInterpreter]] = {width: [] for width in WIDTHS}
        try:
            for width in widths:
                self._idle[width].append(self._interpreter(width))
        except Exception as error:  # TensorFlow Lite raises ValueError, RuntimeError and others
            raise ModelError(f"The row net can't be run ({type(error).__name__}).") from error

    def __call__(self, strip: NDArray[np.uint8]) -> Floats:
        """The probability of each digit and of none in the columns of `strip` [h,w], [⌈w/2⌉,11]."""
        width = next(width for width in WIDTHS if width >= strip.shape[1])
        idle = self._idle[width]
        try:
            interpreter = idle.pop()
        except IndexError:  # all are in use by other threads
            interpreter = self._interpreter(width)
        columns = np.exp(interpreter(strip).astype(np.float64))
        idle.append(interpreter)
        return columns

    def check(self, strips: NDArray[np.uint8], columns: Floats) -> None:
        """Check the answers to golden strips [n,h,w], which are [n,w/2,11].

        Raises:
            ModelError: They differ.
        """
        for strip, expected in zip(strips, columns, strict=True):
            if not np.abs(self(strip) - expected).max() <= GOLDEN_TOLERANCE:
                raise ModelError("The row net's answers are not its golden ones.")
