"""Promotion and rollback while a real server answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest

from app.inference import pointer
from app.inference.pointer import Pointer
from tests.faults.server import (
    GOLDEN,
    Server,
    assert_unharmed,
    read_reply,
    request,
    serving,
    wait_until,
)
from training import promote

ASK = request("POST", "/predict?normalize=false", {"content-type": "image/png"}, GOLDEN)


@pytest.fixture(scope="module")
def models(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is live; 2 and 3 are candidates, and 3 has lost a file."""
    models = tmp_path_factory.mktemp("promotion") / "models"
    for number in (1, 2, 3):
        shutil.copytree(stand_in, models / str(number))
    (models / "3" / "golden.npz").unlink()
    pointer.write(models, Pointer(version=1))
    return models


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log_file = tmp_path_factory.mktemp("server") / "log"
    with serving(models, log_file, reload_seconds=0.1) as server:
        yield server


def run(models: Path, *words: str) -> int:
    return promote.main([*words, "--models", str(models)])


def test_promote_and_roll_back_under_load_without_a_failed_request(
    server: Server, models: Path
) -> None:
    assert server.live_version == "1"  # and not the highest
    done = Event()

    def ask() -> list[str]:
        versions: list[str] = []
        with server.connect() as connection:
            while not done.is_set():
                connection.sendall(ASK)
                reply = read_reply(connection)
                assert reply.status == 200
                versions.append(reply.json["model"]["version"])
        return versions

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        try:
            assert run(models, "2", "--force", "A drill.") == 0
            wait_until(lambda: server.live_version == "2")
            assert run(models, "--rollback") == 0
            wait_until(lambda: server.live_version == "1")
        finally:
            done.set()
        for client in asking:
            versions = client.result()
            turns = [b for a, b in pairwise(versions) if a != b]
            assert (versions[0], turns) == ("1", ["2", "1"])
    assert server.metric('digits_reloads_total{outcome="succeeded"}') == 2
    assert_unharmed(server)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"version": 3}', "Version 3: the manifest and the folder differ in golden.npz."),
        ('{"version": 9}', "The models: there is no version 9 in it."),
        ('{"version": ', "The models: live.json is damaged"),
    ],
    ids=["spoilt version", "no such version", "damaged"],
)
def test_a_pointer_that_leads_nowhere_leaves_the_live_version(
    server: Server, models: Path, content: str, says: str
) -> None:
    refused = server.metric('digits_reloads_total{outcome="refused"}')
    draft = models / "draft.json"
    draft.write_text(content)
    draft.replace(models / pointer.FILE)  # or the server may find it empty
    health = wait_until(lambda: (r := server.get("/healthz")).json["detail"] and r)
    assert health.status == 200
    assert health.json["detail"].startswith(says)
    assert health.json["model"]["version"] == "1"
    assert server.metric('digits_reloads_total{outcome="refused"}') == refused + 1
    assert_unharmed(server)
    pointer.write(models, Pointer(version=1))
    wait_until(lambda: server.get("/healthz").json["detail"] is None)


def test_a_pinned_server_does_not_follow_the_pointer(models: Path, tmp_path: Path) -> None:
    with serving(models, tmp_path / "log", model_version=2) as pinned:
        assert pinned.live_version == "2"
        assert_unharmed(pinned)


def test_without_a_pointer_the_highest_is_served(server: Server, models: Path) -> None:
    shutil.copytree(models / "2", models / "4")
    (models / pointer.FILE).unlink()
    wait_until(lambda: server.live_version == "4")
    pointer.write(models, Pointer(version=1))
    wait_until(lambda: server.live_version == "1")
    assert_unharmed(server)
