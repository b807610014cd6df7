"""Model folders that may not be served, and versions that come and go under load."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from tests.conftest import export_stand_in, png, spoken, write_manifest
from tests.faults.server import (
    GOLDEN,
    Server,
    assert_unharmed,
    read_reply,
    request,
    serving,
    start,
    wait_until,
)

EXIT_SECONDS = 300
SWAPS = 10
ASK = request("POST", "/predict?normalize=false", {"content-type": "image/png"}, GOLDEN)


def flip_a_bit_in(folder: Path, name: Path) -> None:
    file = folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def list_fewer(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["files"]["golden.npz"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def record_other_answers(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        figures = {name: golden[name] for name in golden}
    figures["digit_score"] = figures["digit_score"] - 0.01
    np.savez(folder / "golden.npz", **figures)
    write_manifest(folder)


def lose_thresholds(folder: Path) -> None:
    (folder / "model_card.json").write_text('{"name": "digits"}')
    write_manifest(folder)


# What is done to a good folder, and what the one line about it says.
SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("no manifest", lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    ("no model", lambda folder: (folder / "saved_model.pb").unlink(), "differ in saved_model.pb"),
    ("a file more", lambda folder: (folder / "more").touch(), "differ in more"),
    ("a list of fewer", list_fewer, "differ in golden.npz"),
    ("truncated model", lambda folder: truncate(folder / "saved_model.pb"), "is not the file"),
    ("truncated manifest", lambda folder: truncate(folder / "manifest.json"), "can't be read"),
    ("no thresholds", lose_thresholds, "lacks a name or thresholds"),
    ("other golden answers", record_other_answers, "does not answer its golden inputs"),
]


def spoil(stand_in: Path, folder: Path, how: Callable[[Path], object]) -> None:
    """A spoilt copy of the stand-in, complete from the first moment it is seen."""
    beside = folder.parent.with_name("beside")
    shutil.copytree(stand_in, beside)
    how(beside)
    beside.rename(folder)


def fails_to_start(models: Path, log_file: Path, **settings: object) -> str:
    """What the process says that ends, as it has to, without having served."""
    server = start(models, log_file, **settings)
    try:
        assert server.process.wait(EXIT_SECONDS) not in (0, None)
    except subprocess.TimeoutExpired:
        server.process.kill()
        raise
    assert "Traceback" not in server.log
    assert "startup complete" not in server.log
    return server.log


@pytest.mark.parametrize(
    ("how", "says"),
    [pytest.param(*case[1:], id=case[0]) for case in SPOILT if case[0] != "other golden answers"],
)
def test_at_start_up_a_spoilt_model_ends_the_process_with_one_line(
    stand_in: Path, tmp_path: Path, how: Callable[[Path], object], says: str
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    spoil(stand_in, models / "1", how)
    lines = [line for line in fails_to_start(models, tmp_path / "log").splitlines() if says in line]
    assert len(lines) == 1
    assert "no model to serve" in lines[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"models_dir": "/nowhere"}, "no such folder", id="no models"),
        pytest.param({"model_version": 9}, "no version 9", id="no such version"),
        pytest.param({"max_pixels": "many"}, "DIGITS_MAX_PIXELS", id="no number"),
        pytest.param({"max_images": 513}, "MAX_WAITING_IMAGES: Value error, must be", id="no room"),
        pytest.param({"api_keys_file": "/nowhere"}, "DIGITS_API_KEYS_FILE", id="no key file"),
        pytest.param({"workers": 2, "model_version": 9}, "no version 9", id="several workers"),
    ],
)
def test_at_start_up_a_wrong_setting_ends_the_process(
    stand_in_models: Path, tmp_path: Path, settings: dict[str, object], says: str
) -> None:
    assert says in fails_to_start(stand_in_models, tmp_path / "log", **settings)


@pytest.fixture(scope="module")
def models(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions that the module's server watches."""
    models = tmp_path_factory.mktemp("watched") / "models"
    models.mkdir()
    shutil.copytree(stand_in, models / "1")
    return models


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log_file = tmp_path_factory.mktemp("server") / "log"
    with serving(models, log_file, reload_seconds=0.1) as server:
        yield server


def assert_stays(server: Server, models: Path, *, says: str = "") -> None:
    """Version 2 is refused, which health says, and 1 answers on; then it is taken away again."""
    health = wait_until(lambda: (r := server.get("/healthz")).json["detail"] and r)
    assert health.status == 200
    assert health.json["model"]["version"] == "1"
    assert says in health.json["detail"]
    assert str(models) not in health.json["detail"]
    assert_unharmed(server)
    shutil.rmtree(models / "2")
    wait_until(lambda: server.get("/healthz").json["detail"] is None)


@pytest.mark.parametrize(("how", "says"), [pytest.param(*c[1:], id=c[0]) for c in SPOILT])
def test_while_serving_a_spoilt_version_leaves_the_old_one(
    server: Server, models: Path, stand_in: Path, how: Callable[[Path], object], says: str
) -> None:
    spoil(stand_in, models / "2", how)
    assert_stays(server, models, says=says)


def test_while_serving_one_flipped_bit_in_any_file_leaves_the_old_one(
    server: Server, models: Path, stand_in: Path
) -> None:
    files = [path.relative_to(stand_in) for path in stand_in.rglob("*") if path.is_file()]
    assert len(files) >= 5
    for name in files:
        if (stand_in / name).stat().st_size:
            spoil(stand_in, models / "2", partial(flip_a_bit_in, name=name))
            assert_stays(server, models)


def never_a_number(tf: Any, images: Any) -> dict[str, Any]:
    ones = tf.ones([tf.shape(images)[0]])
    return {"probabilities": tf.ones([tf.shape(images)[0], 10]) / 10, "digit_score": ones / 0 * 0}


def other_names(tf: Any, images: Any) -> dict[str, Any]:
    return {"softmax": tf.ones([tf.shape(images)[0], 10]) / 10}


@pytest.mark.parametrize(
    ("serve", "says"),
    [
        pytest.param(never_a_number, "not finite", id="NaN"),
        pytest.param(other_names, "takes or gives other tensors", id="other signature"),
    ],
)
def test_while_serving_a_wrong_model_leaves_the_old_one(
    server: Server, models: Path, tmp_path: Path, serve: Callable[..., Any], says: str
) -> None:
    export_stand_in(tmp_path / "2", serve).rename(models / "2")
    assert_stays(server, models, says=says)


def more_certain(tf: Any, images: Any) -> dict[str, Any]:
    """The stand-in's weights squared, so that its figures tell it from the stand-in."""
    row = tf.cast(images[:, 0], tf.float32)
    weights = row[:, :10] ** 2 + 1e-6
    return {
        "probabilities": weights / tf.reduce_sum(weights, 1, keepdims=True),
        "digit_score": row[:, 10] / 255,
    }


def is_live(server: Server, number: int) -> bool:
    return server.live_version == str(number)


def test_versions_swap_under_load_without_a_failed_or_mixed_answer(
    server: Server, models: Path, stand_in: Path, tmp_path: Path
) -> None:
    other = export_stand_in(tmp_path / "other", more_certain)
    expected: dict[bool, float] = {}
    for is_other in (False, True):
        weights = np.asarray(spoken(7)[0, :10], np.float64) ** (2 if is_other else 1)
        expected[is_other] = float(weights[7] / weights.sum())
    assert expected[True] - expected[False] > 0.01
    done = Event()

    def ask() -> set[str]:
        seen = set()
        with server.connect() as connection:
            while not done.is_set():
                connection.sendall(ASK)
                reply = read_reply(connection)
                assert reply.status == 200
                version = reply.json["model"]["version"]
                is_other = version != "1" and int(version) % 2 == 0
                assert abs(reply.json["predictions"][0]["confidence"] - expected[is_other]) < 1e-3
                seen.add(version)
        return seen

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        try:
            for number in range(10, 10 + SWAPS):
                shutil.copytree(stand_in if number % 2 else other, tmp_path / "next")
                (tmp_path / "next").rename(models / str(number))
                wait_until(partial(is_live, server, number))
        finally:
            done.set()
        for client in asking:
            assert len(client.result()) > SWAPS // 2
    for number in range(10, 10 + SWAPS):
        shutil.rmtree(models / str(number))
    wait_until(partial(is_live, server, 1))
    assert_unharmed(server)


def test_an_image_that_the_model_fails_on_is_an_error_of_ours(server: Server) -> None:
    bad = spoken(7)
    bad[0, 12] = 255  # the stand-in then scores it with no number
    reply = server.predict(png(bad), query="?normalize=false")
    assert reply.problem == "internal-error"
    assert reply.status == 500
    assert reply.json["detail"] == "The model failed."
    assert server.log.count("the model failed") == 1
    assert "not finite" in server.log
    assert_unharmed(server, [reply])
