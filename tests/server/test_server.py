"""The shipped model in a real process, over a socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import EXAMPLES, ROOT
from tests.faults.server import Reply, Server, file_part, multipart, serving, wait_until


def labels(reply: Reply) -> list[int | None]:
    assert reply.status == 200, reply.body
    assert reply.headers["x-request-id"]
    assert all(one["rejected"] in (None, "blank") for one in reply.json["predictions"])
    return [prediction["label"] for prediction in reply.json["predictions"]]


def pixels(name: str) -> Any:
    image = cv2.imread(str(EXAMPLES / name), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("five.png", "image/png", 5),
        ("seven.jpg", "image/jpeg", 7),
        ("three.png", "image/png", 3),
    ],
    ids=["a PNG of 28×28", "a photo", "a transparent canvas"],
)
def test_a_picture(shipped: Server, name: str, kind: str, label: int) -> None:
    data = (EXAMPLES / name).read_bytes()
    assert labels(shipped.predict(data, kind)) == [label]
    assert labels(shipped.predict(*multipart(file_part(data, name)))) == [label]


@pytest.mark.parametrize("share", [False, True], ids=["0-255", "0-1"])
@pytest.mark.parametrize("flat", [False, True], ids=["rows", "flat"])
def test_numbers(shipped: Server, flat: bool, share: bool) -> None:
    five = pixels("five.png") / (255 if share else 1)
    image = five.ravel().tolist() if flat else five.tolist()
    body = json.dumps({"image": image}).encode()
    assert labels(shipped.predict(body, "application/json")) == [5]


def test_a_batch_in_order(shipped: Server) -> None:
    files = [file_part((EXAMPLES / name).read_bytes()) for name in ("seven.jpg", "five.png")]
    assert labels(shipped.predict(*multipart(*files * 3))) == [7, 5] * 3
    images = [
        pixels("five.png").tolist(),
        np.zeros((40, 30)).tolist(),
        pixels("seven.jpg").tolist(),
    ]
    body = json.dumps({"images": images}).encode()
    assert labels(shipped.predict(body, "application/json")) == [5, None, 7]


def test_ink_on_paper_and_chalk_on_a_board(shipped: Server) -> None:
    five = pixels("five.png")
    for image in (five, 255 - five):
        assert labels(shipped.predict(cv2.imencode(".png", image)[1].tobytes())) == [5]


def test_bad_input(shipped: Server) -> None:
    assert shipped.predict(b"no image").problem == "not-an-image"
    assert shipped.predict(b"{", "application/json").problem == "malformed-body"
    assert shipped.get("/nowhere").problem == "not-found"


def test_health_and_card(shipped: Server) -> None:
    model = {"name": "digits", "version": shipped.get("/model").json["version"]}
    assert shipped.get("/healthz").json == {"status": "ok", "model": model, "detail": None}
    assert shipped.get("/model").json["figures"]["test_accuracy"] >= 0.996


def test_sigterm_ends_it_in_order(stand_in_models: Path, tmp_path: Path) -> None:
    with serving(stand_in_models, tmp_path / "log", drain_notice_seconds=0.5) as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.get("/readyz").status == 503)
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        assert "draining" in server.log
        assert "Finished server process" in server.log
        assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"DIGITS_PORT": "http"}, "DIGITS_PORT: "),
        ({"DIGITS_MAX_BATCH": "0", "DIGITS_WORKERS": "-1"}, "DIGITS_MAX_BATCH: "),
        ({"DIGITS_CORS_ORIGINS": "https://a.example"}, 'field "cors_origins"'),
        ({"DIGITS_API_KEYS_FILE": "/nowhere"}, "DIGITS_API_KEYS_FILE: "),
    ],
    ids=["port", "two at once", "no list", "no key file"],
)
def test_settings_that_make_no_sense_end_it_with_a_word(
    environment: dict[str, str], says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == len(environment)


def test_without_a_model_it_ends_with_a_word(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env={**os.environ, "DIGITS_MODELS_DIR": str(tmp_path), "DIGITS_PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in (0, 2)
    assert "no model to serve" in done.stderr
    assert "Traceback" not in done.stderr
