"""A stand-in for the model, whose answers the tests write into the images themselves.

An image's first row of pixels says what the stand-in answers:

    [0, :10]   each digit's weight; the probabilities are their shares (even where all are 0)
    [0, 10]    the digit score, in 255ths
    [0, 11]    at 255 the call fails
    [0, 12]    at 255 the digit score is not a number

It has no TensorFlow Lite files: an interpreter would not fail. `plain_stand_in` can have them.

Its thresholds are 0.5 for both. With `normalize=false` an image reaches it as it is.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import PIL.Image
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from hypothesis import settings as hypothesis_settings
from numpy.typing import NDArray
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings

if TYPE_CHECKING:
    from tests.faults.server import Server

# No test is timed: a machine that is busy with other things fails none.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"

Image = NDArray[np.uint8]

UNTURNED: Mapping[int, PIL.Image.Transpose] = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_90,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_270,
}
"""What turns an upright picture into the one that a file of an EXIF orientation holds."""


@contextmanager
def in_a_thread(config: uvicorn.Config) -> Iterator[tuple[str, int]]:
    """The address at which a server of this process has begun to serve."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def no_rows(images: Image) -> NDArray[np.float32]:
    """Stands for a model that is not asked."""
    return np.empty((0, 11), np.float32)


def spoken(label: int, *, share: float = 0.9, score: float = 1.0) -> Image:
    """A 28×28 image that the stand-in answers with `label`, at about these figures."""
    image = np.zeros((28, 28), np.uint8)
    weights = np.full(10, (1 - share) / 9)
    weights[label] = share
    image[0, :10] = np.rint(weights * 255)
    image[0, 10] = round(score * 255)
    return image


def png(image: Image) -> bytes:
    """[h,w] grey, [h,w,3] BGR or [h,w,4] BGRA as a PNG file."""
    return cv2.imencode(".png", image)[1].tobytes()


def write_manifest(folder: Path) -> None:
    """List every file of a version folder as it now is."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


def export_stand_in(
    folder: Path,
    serve: Callable[[Any, Any], dict[str, Any]] | None = None,
    *,
    tflite: bool = False,
) -> Path:
    """Write a version folder of the stand-in, or of `serve(tf, images)`; return it.

    Args:
        folder: The version's folder.
        serve: Returns the outputs for a tensor of images.
        tflite: Write the TensorFlow Lite file and its golden scores, too.
    """
    import tensorflow as tf  # noqa: PLC0415 -- takes seconds, and most tests do without

    images = np.stack([spoken(label) for label in range(10)])
    module = tf.Module()
    signature = tf.function(
        lambda images: (serve or _stand_in)(tf, images),
        input_signature=[tf.TensorSpec([None, 28, 28], tf.uint8, name="images")],
    )
    module.serve = signature
    tf.saved_model.save(module, str(folder), signatures=signature)
    np.savez(
        folder / "golden.npz",
        images=images,
        **{name: tensor.numpy() for name, tensor in signature(tf.constant(images)).items()},
    )
    card: dict[str, Any] = {
        "name": "digits",
        "version": folder.name,
        "thresholds": {"digit_score": 0.5, "confidence": 0.5},
        "figures": {},
    }
    if tflite:
        from training import export  # noqa: PLC0415 -- takes as long

        export.write_tflite(folder, "float32", export.convert_float32)
        card["converted_from"] = export.sha256(folder / "saved_model.pb")
    (folder / "model_card.json").write_text(json.dumps(card))
    write_manifest(folder)
    return folder


def _stand_in(tf: Any, images: Any) -> dict[str, Any]:
    fails = tf.debugging.assert_less(tf.cast(images[:, 0, 11], tf.float32), 255.0)
    with tf.control_dependencies([fails]):
        return plain_stand_in(tf, tf.identity(images))


def plain_stand_in(tf: Any, images: Any) -> dict[str, Any]:
    row = tf.cast(images[:, 0], tf.float32)
    weights = row[:, :10] + 1e-6
    nan = tf.where(row[:, 12] < 255, 0.0, float("nan"))
    return {
        "probabilities": weights / tf.reduce_sum(weights, 1, keepdims=True),
        "digit_score": row[:, 10] / 255 + nan,
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders that take longest, so that no worker is left with them alone."""
    longest = {name: place for place, name in enumerate(("training", "faults"), start=-2)}
    items.sort(key=lambda item: min(longest.get(part, 0) for part in item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    # structlog's own choice would print every variable of every frame of what fails on purpose.
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ]
    )


@pytest.fixture(scope="session")
def stand_in_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of versions that holds version 1 of the stand-in; not to be written to."""
    models = tmp_path_factory.mktemp("models")
    export_stand_in(models / "1")
    return models


@pytest.fixture(scope="session")
def stand_in(stand_in_models: Path) -> Path:
    """The folder of version 1 of the stand-in; copy it to alter it."""
    return stand_in_models / "1"


@pytest.fixture(scope="session")
def settings(stand_in_models: Path) -> Settings:
    """One worker thread, so that a test can occupy it; limits small enough to run into."""
    return Settings(
        models_dir=stand_in_models,
        worker_threads=1,
        max_images=8,
        max_waiting_images=12,
        max_body_bytes=200_000,
        max_json_bytes=100_000,
        body_budget_bytes=400_000,
        max_pixels=40_000,
        inline_cost_pixels=20_000,
    )


@pytest.fixture(scope="session")
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the running application; a failure inside comes back as the 500 it becomes."""
    with TestClient(app, raise_server_exceptions=False) as running:
        yield running


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server process with the model that ships, and gRPC."""
    from tests.faults.server import free_port, serving  # noqa: PLC0415 -- which imports from here

    log_file = tmp_path_factory.mktemp("shipped") / "log"
    models = ROOT / "models" / "digits"
    with serving(models, log_file, grpc_port=free_port()) as server:
        yield server
