"""One server process a module, warm, and looked over when the module's cases are through."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import export_stand_in, plain_stand_in, png
from tests.faults.server import Server, assert_back_to, assert_unharmed, serving

GATE_COLUMN = 13
"""Pixel of an image's first row that makes the stand-in wait at the gate."""
MORE_BYTES = 150 * 2**20
"""Resident memory a module may leave behind: what the allocator keeps of the largest bodies (32 MB
each, in a few threads' arenas). A leak of one bomb of 100 MB a case is far above it."""


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """The settings of the module's server: its SETTINGS."""
    found: dict[str, object] = getattr(request.module, "SETTINGS", {})
    return found


@pytest.fixture(scope="module")
def server(
    stand_in_models: Path,
    settings: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    log_file = tmp_path_factory.mktemp("server") / "log"
    with serving(stand_in_models, log_file, **settings) as server:
        warm_up(server)
        before = server.resources()
        yield server
        assert_unharmed(server)
        assert_back_to(before, server, more_bytes=MORE_BYTES)


def warm_up(server: Server) -> None:
    """Have the pools start their threads and the allocator its arenas: those are meant to stay."""
    noise = np.random.default_rng(1).integers(0, 255, (250, 250), np.uint8)
    rows = (b'{"image":' + str(noise[:, :200].tolist()).encode() + b"}", "application/json")
    bodies = [(png(noise), "image/png"), rows] * 12
    with ThreadPoolExecutor(len(bodies)) as clients:
        for reply in clients.map(lambda body: server.predict(*body), bodies):
            assert reply.status == 200
    assert_unharmed(server)


@dataclass(frozen=True)
class Gate:
    """A file that, while it is there, keeps calls of the model from returning; see `gated_models`.

    With it no test has to guess how long a model takes on a machine that does something else too.
    """

    file: Path

    def shut(self) -> None:
        """Have calls for marked images wait."""
        self.file.touch()

    def open(self) -> None:
        """Let calls through, those that wait too."""
        self.file.unlink(missing_ok=True)


def gated(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`image` with the mark of those for which the stand-in waits at the gate."""
    marked = image.copy()
    marked[0, GATE_COLUMN] = 255
    return marked


def gated_stand_in(file: Path, tf: Any, images: Any) -> dict[str, Any]:
    """The stand-in, which waits while `file` is there and an image has the mark."""
    is_marked = tf.reduce_any(images[:, 0, GATE_COLUMN] == 255)
    # With an empty text that depends on the images, or it would be looked for at the load.
    nothing = tf.strings.substr(tf.strings.as_string(images[0, 0, 0]), 0, 0)
    path = tf.strings.join([str(file), nothing])
    waits = tf.while_loop(
        lambda _: is_marked & (tf.size(tf.io.matching_files(path)) > 0), lambda _: (0,), (0,)
    )
    with tf.control_dependencies(waits):
        return plain_stand_in(tf, tf.identity(images))


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The gate of `gated_models`; it is open until a test shuts it."""
    return Gate(tmp_path_factory.mktemp("gate") / "shut")


@pytest.fixture(scope="module")
def gated_models(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of versions whose version 1 waits at the gate for images that are `gated`."""
    models = tmp_path_factory.mktemp("gated-models")
    export_stand_in(models / "1", partial(gated_stand_in, gate.file))
    return models
