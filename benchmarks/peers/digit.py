"""What every peer does with an image, whatever framework is around it: decode, predict, answer.

Runs in each peer's own environment, so it imports nothing of the service.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BATCH = 32
Images = NDArray[np.uint8]
Rows = NDArray[np.float32]


def read(data: bytes) -> Images:
    """An image file as [28,28], white ink on black: its opacity, where it has one, or its grey."""
    image = Image.open(io.BytesIO(data))
    grey = image.getchannel("A") if image.mode == "RGBA" else image.convert("L")
    return np.asarray(grey if grey.size == (28, 28) else grey.resize((28, 28)))


def read_json(data: bytes) -> Images:
    """`{"images": [rows, …]}` as [n,28,28]."""
    return np.array(json.loads(data)["images"], np.uint8)


def load() -> Callable[[Images], Rows]:
    """The SavedModel in `MODEL` as a function of images [n,28,28], warm; probabilities [n,10].

    One thread inside a call, as in the service: several calls at once waste less.
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
    """One image's answer as it goes over the wire."""
    return {"label": int(probabilities.argmax()), "probabilities": probabilities.tolist()}


def port() -> int:
    return int(os.environ["PORT"])
