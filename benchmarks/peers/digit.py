"""The part that all peers share, whatever framework is around it: decode, resize, predict, answer.

It is what their users write: Pillow opens the file, converts it to gray, resizes it to 28×28 and
inverts it where it is bright. It runs in each peer's own environment and so imports nothing of the
service.
"""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BATCH = 32
WHITE, MIDDLE_GRAY = 255, 127
Images = NDArray[np.uint8]
Rows = NDArray[np.float32]
"""Probabilities [n,10], or of one image [10]."""


def read(data: bytes) -> Images:
    """Return an image file as uint8 [28,28], white ink on black.

    Transparency is laid on white. The ink is looked for nowhere: the whole image is resized.
    """
    image = Image.open(io.BytesIO(data))
    gray = image.convert("L")
    if image.mode == "RGBA":
        paper = Image.new("L", image.size, WHITE)
        paper.paste(gray, mask=image.getchannel("A"))
        gray = paper
    pixels = np.asarray(gray if gray.size == (28, 28) else gray.resize((28, 28)))
    return WHITE - pixels if pixels.mean() > MIDDLE_GRAY else pixels


def read_json(data: bytes) -> Images:
    """Return `{"images": [rows, …]}` as uint8 [n,28,28]."""
    return np.array(json.loads(data)["images"], np.uint8)


def load() -> Callable[[Images], Rows]:
    """Return the SavedModel in `MODEL`, warm, as a function from [n,28,28] to [n,10].

    A call has one thread, as in the service: several calls at once waste less.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import tensorflow as tf  # noqa: PLC0415 -- not in processes that only receive

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tf.saved_model.load(os.environ["MODEL"])
    signature = model.signatures["serving_default"]

    def predict(images: Images) -> Rows:
        assert model  # noqa: S101 -- a signature holds its variables weakly
        rows: Rows = signature(images=tf.constant(images))["probabilities"].numpy()
        return rows

    for size in range(1, MAX_BATCH + 1):
        predict(np.zeros((size, 28, 28), np.uint8))
    return predict


def answer(probabilities: Rows) -> dict[str, Any]:
    """Return the JSON of an image's answer, from its probabilities [10]."""
    return {"label": int(probabilities.argmax()), "probabilities": probabilities.tolist()}


def port() -> int:
    """Return the port to listen on."""
    return int(os.environ["PORT"])


def free_port() -> int:
    """Return a port that nobody listens on, for what a framework opens beside."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found
