"""One server process a module, warm, and looked over when the module's cases are through."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import export_stand_in, png
from tests.faults.server import Server, assert_back_to, assert_unharmed, serving

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


def slow_stand_in(tf: Any, images: Any) -> dict[str, Any]:
    """Answers 7, after some milliseconds of multiplying for every image."""
    count = tf.shape(images)[0]
    start = tf.eye(256) * tf.cast(tf.reduce_max(images) + 1, tf.float32)
    _, product = tf.while_loop(
        lambda i, _: i < count * 15,
        lambda i, m: (i + 1, tf.linalg.l2_normalize(m @ m + 1.0, axis=1)),
        (0, start),
    )
    idle = tf.reduce_sum(product) * 0.0
    return {
        "probabilities": tf.one_hot(tf.fill([count], 7), 10) + idle,
        "digit_score": tf.ones([count]) + idle,
    }


@pytest.fixture(scope="session")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of versions whose version 1 takes its time."""
    models = tmp_path_factory.mktemp("slow-models")
    export_stand_in(models / "1", slow_stand_in)
    return models
