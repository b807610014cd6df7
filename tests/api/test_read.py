from __future__ import annotations

import base64
import threading

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.vision.decode import decode
from tests.api.calls import JSON, PNG, detail_of, services_in
from tests.conftest import png
from tests.serving.test_reader import row

TWELVE = png(row("12"))


@pytest.mark.parametrize("path", ["/read", "/read/"])
def test_every_image_has_a_number(client: TestClient, path: str) -> None:
    files = [("file", ("a", TWELVE)), ("file", ("b", png(np.full((30, 30), 255, np.uint8))))]
    response = client.post(path, files=files)
    assert response.status_code == 200
    answer = response.json()
    assert answer.keys() == {"model", "numbers"}
    first, blank = answer["numbers"]
    keys = {"text", "confidence", "digits", "alternatives", "rejected"}
    assert first.keys() == blank.keys() == keys
    assert first["digits"]
    for digit in first["digits"]:
        assert digit.keys() == {"label", "confidence", "probabilities", "box"}
        assert len(digit["probabilities"]) == 10
    assert blank == {
        "text": "",
        "confidence": 0.0,
        "digits": [],
        "alternatives": [],
        "rejected": "blank",
    }


def test_bodies_are_those_of_predict(client: TestClient) -> None:
    text = base64.b64encode(TWELVE).decode()
    bodies = [
        client.post("/read", content=TWELVE, headers=PNG),
        client.post("/read", json={"image": text}),
        client.post("/read", json={"image": row("12").tolist()}),
        client.post("/read", content=TWELVE),
    ]
    assert {response.status_code for response in bodies} == {200}
    assert len({response.json()["numbers"][0]["text"] for response in bodies}) == 1


def test_what_the_model_saw_is_told_when_asked_for(client: TestClient) -> None:
    (number,) = client.post("/read?include=seen", content=TWELVE).json()["numbers"]
    seen = number["seen"]
    assert seen["inverted"] is True
    image = decode(base64.b64decode(seen["image"].removeprefix("data:image/png;base64,")))
    assert image.gray.shape == (28, 28 * len(number["digits"]))
    blank = png(np.full((30, 30), 255, np.uint8))
    (none,) = client.post("/read?include=seen", content=blank).json()["numbers"]
    assert none["seen"] == {"image": None, "inverted": True, "box": None} or none["seen"] == {
        "image": None,
        "inverted": False,
        "box": None,
    }


def test_parameters_are_checked_before_the_body(client: TestClient) -> None:
    response = client.post("/read?length=0", content=b"no image")
    assert "`length`" in detail_of(response, "bad-parameter")
    assert "pattern" in detail_of(client.post("/read?pattern=x", content=b""), "bad-parameter")


def test_failures_are_those_of_predict(client: TestClient) -> None:
    detail_of(client.post("/read", content=b""), "empty-batch")
    detail_of(client.post("/read", content=b"no image", headers=PNG), "not-an-image")
    detail_of(client.post("/read", content=b"{", headers=JSON), "malformed-body")
    detail_of(client.post("/read", content=bytes(200_001), headers=PNG), "body-too-large")
    assert client.get("/read").status_code == 405
    nine = [("file", ("x", TWELVE))] * 9
    detail_of(client.post("/read", files=nine), "too-many-images")


def test_numbers_are_counted(client: TestClient) -> None:
    metrics = services_in(client).metrics
    before = metrics.exposition().decode()
    assert 'digits_numbers_total{version="1",rejected="several_lines"} 0.0' in before or (
        'digits_numbers_total{rejected="several_lines",version="1"} 0.0' in before
    )
    client.post("/read", content=png(np.full((30, 30), 255, np.uint8)))
    after = metrics.exposition().decode()
    assert 'route="/read"' in after
    assert before != after


def test_nothing_stays_leased(client: TestClient) -> None:
    services = services_in(client)
    client.post("/read", content=TWELVE)
    client.post("/read", content=b"no image", headers=PNG)
    admission = services.admission
    assert (admission.images.held, admission.bodies.held, admission.working.held) == (0, 0, 0)
    assert threading.active_count() < 50
