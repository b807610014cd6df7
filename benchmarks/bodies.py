"""What the benchmarks send: request bodies made from a version's golden inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

BOUNDARY = "digits-benchmark"


@dataclass(frozen=True, slots=True)
class Body:
    """One kind of request: its body, and how many images one holds."""

    name: str
    content_type: str
    data: bytes
    images: int


def make(model: Path) -> list[Body]:
    """A 28×28 PNG upload, a 280×280 RGBA canvas upload, and a JSON batch of 64."""
    with np.load(model / "golden.npz") as golden:
        digits: NDArray[np.uint8] = golden["images"]
    enlarged = cv2.resize(digits[0], (280, 280), interpolation=cv2.INTER_CUBIC)
    canvas = np.dstack([np.zeros((280, 280, 3), np.uint8), enlarged])
    batch = np.resize(digits, (64, 28, 28)).tolist()
    return [
        upload("png-28", digits[0]),
        upload("canvas-280", canvas),
        Body("json-64", "application/json", json.dumps({"images": batch}).encode(), 64),
    ]


def upload(name: str, image: NDArray[np.uint8]) -> Body:
    """A multipart form with the image as its one file."""
    png = cv2.imencode(".png", image)[1].tobytes()
    head = (
        f"--{BOUNDARY}\r\ncontent-disposition: form-data; name=file; filename=digit.png\r\n"
        "content-type: image/png\r\n\r\n"
    ).encode()
    data = head + png + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Body(name, f"multipart/form-data; boundary={BOUNDARY}", data, 1)
