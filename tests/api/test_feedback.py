from __future__ import annotations

import errno
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.errors import BadFeedback
from app.main import create_app
from app.serving.feedback import id_of, picture_of, row_of
from app.settings import Settings
from app.vision.decode import decode
from app.vision.strip import STRIP_HEIGHT
from tests.api.calls import detail_of
from tests.conftest import png, spoken
from tests.serving.test_reader import row

NUMBER_ID = id_of(np.zeros((STRIP_HEIGHT, 40), np.uint8))
IMAGE = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def listening(stand_in_models: Path, folder: Path) -> Iterator[TestClient]:
    """A client of an application with feedback on."""
    settings = Settings(models_dir=stand_in_models, feedback_dir=folder, worker_threads=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def answer(client: TestClient, image: bytes) -> Any:
    reply = client.post("/predict?normalize=false", content=image, headers=IMAGE)
    assert reply.status_code == 200
    return reply.json()["predictions"][0]


def test_an_answer_has_an_id_and_feedback_keeps_its_picture(
    listening: TestClient, folder: Path
) -> None:
    id_ = answer(listening, png(spoken(7)))["id"]
    assert np.array_equal(picture_of(id_), spoken(7))
    reply = listening.post("/feedback", json={"id": id_, "label": 1})
    assert (reply.status_code, reply.content) == (204, b"")
    (file,) = (folder / "1").iterdir()
    assert np.array_equal(decode(file.read_bytes()).gray, spoken(7))
    assert listening.post("/feedback/", json={"id": id_, "label": None}).status_code == 204
    assert [path.parent.name for path in folder.glob("*/*")] == ["none"]


def test_each_digit_of_a_number_has_an_id(listening: TestClient, client: TestClient) -> None:
    reply = listening.post("/read?include=seen", content=png(row("12")), headers=IMAGE)
    [number] = reply.json()["numbers"]
    pictures = [picture_of(digit["id"]) for digit in number["digits"]]
    seen = decode(b64decode(number["seen"]["image"].partition(",")[2])).gray
    assert np.array_equal(np.concatenate(pictures, axis=1), seen)
    for digit in number["digits"]:
        assert listening.post("/feedback", json={"id": digit["id"], "label": 1}).status_code == 204
    off = client.post("/read", content=png(row("12")), headers=IMAGE).json()["numbers"][0]
    assert all("id" not in digit for digit in off["digits"])


def test_a_number_is_kept_with_all_of_its_text(listening: TestClient, folder: Path) -> None:
    [number] = listening.post("/read", content=png(row("12")), headers=IMAGE).json()["numbers"]
    for text in ("112", None, "012"):
        body = {"id": number["id"], "text": text}
        assert listening.post("/feedback", json=body).status_code == 204
    (file,) = (folder / "rows").iterdir()
    assert file.stem.endswith("-012")
    assert np.array_equal(decode(file.read_bytes()).gray, row_of(number["id"]))
    [blank] = listening.post("/read", content=png(row("")), headers=IMAGE).json()["numbers"]
    assert "id" not in blank


def test_the_document_and_the_metrics_have_it(listening: TestClient, client: TestClient) -> None:
    operation = listening.get("/openapi.json").json()["paths"]["/feedback"]["post"]
    assert operation["responses"].keys() >= {"204", "400", "422", "507"}
    assert BadFeedback.title in operation["responses"]["422"]["description"]
    assert not {*("image", "pixels")} & {*json.dumps(operation["responses"]).split()}
    assert [parameter["name"] for parameter in operation["parameters"]] == ["X-Deadline-Seconds"]
    assert "/feedback" not in client.get("/openapi.json").json()["paths"]
    assert 'route="/feedback"' in listening.get("/metrics").text


def test_it_is_off_by_default(client: TestClient) -> None:
    assert "id" not in answer(client, png(spoken(7)))
    reply = client.post("/feedback", json={"id": id_of(spoken(7)), "label": 7})
    assert reply.status_code == 404


@pytest.mark.parametrize(
    ("body", "slug", "says"),
    [
        (b"", "malformed-body", "not JSON"),
        (b"\xff\xfe", "malformed-body", "not JSON"),
        (b'{"id": "x", "label": NaN}', "malformed-body", "not JSON"),
        (b"{" * 20_001, "malformed-body", "not JSON"),
        (b"[]", "bad-feedback", "no object"),
        (b'{"id": "x"}', "bad-feedback", "Send JSON"),
        (b'{"label": 7}', "bad-feedback", "Send JSON"),
        (b'{"id": "x", "label": 7, "user": "me"}', "bad-feedback", "Send JSON"),
        (b'{"id": "x", "text": "77", "label": 7}', "bad-feedback", "Send JSON"),
        (b'{"id": "x", "label": 7, "label": 8}', "bad-feedback", "a key twice"),
        (b'{"id": "x", "id": "x", "text": "7"}', "bad-feedback", "a key twice"),
        (b'{"id": "x", "label": 10}', "bad-feedback", "`label` is a digit"),
        (b'{"id": "x", "label": "7"}', "bad-feedback", "`label` is a digit"),
        (b'{"id": "x", "label": true}', "bad-feedback", "`label` is a digit"),
        (b'{"id": "x", "label": [7]}', "bad-feedback", "`label` is a digit"),
        (b'{"id": "x", "text": ""}', "bad-feedback", "`text` is the digits"),
        (b'{"id": "x", "text": "../4"}', "bad-feedback", "`text` is the digits"),
        (b'{"id": "x", "text": "7\\n"}', "bad-feedback", "`text` is the digits"),
        (b'{"id": "x", "text": 77}', "bad-feedback", "`text` is the digits"),
        ('{"id": "x", "text": "\u0663"}'.encode(), "bad-feedback", "`text` is the digits"),
        (b'{"id": "x", "text": "%s"}' % (b"7" * 33), "bad-feedback", "`text` is the digits"),
        (b'{"id": 7, "label": 7}', "bad-feedback", "not that of an answer"),
        (b'{"id": "zxechoxz", "label": 7}', "bad-feedback", "not that of an answer"),
        (b'{"id": "../../etc", "label": 7}', "bad-feedback", "not that of an answer"),
        (b'{"id": "zxechoxz", "text": "77"}', "bad-feedback", "not that of an answer"),
        ('{"id": "ü", "text": "77"}'.encode(), "bad-feedback", "not that of an answer"),
        (b'{"id": "%s", "label": 7}' % NUMBER_ID.encode(), "bad-feedback", "use `text`"),
    ],
)
def test_what_is_no_feedback_is_refused(
    listening: TestClient, folder: Path, body: bytes, slug: str, says: str
) -> None:
    before = sorted(folder.glob("*/*"))
    reply = listening.post("/feedback", content=body)
    assert says in detail_of(reply, slug)
    assert "zxechoxz" not in reply.text
    assert sorted(folder.glob("*/*")) == before


def test_json_of_feedback_is_json(listening: TestClient) -> None:
    body = json.dumps({"id": id_of(spoken(7)), "label": 7}).encode()
    assert listening.post("/feedback", content=b"\xef\xbb\xbf" + body).status_code == 204


def test_what_feedback_has_not_is_said_of_feedback(listening: TestClient) -> None:
    reply = listening.post("/feedback?normalize=false", content=b"{}")
    assert detail_of(reply, "bad-parameter") == "There are no query parameters here."
    reply = listening.post("/feedback", content=b"{}", headers={"content-encoding": "gzip"})
    assert "PNG" not in detail_of(reply, "unsupported-encoding")


def test_a_body_is_not_read_beyond_its_limit(listening: TestClient) -> None:
    reply = listening.post("/feedback", content=b" " * 50_000)
    assert "image" not in detail_of(reply, "body-too-large")


def test_other_methods_are_refused(listening: TestClient) -> None:
    assert listening.get("/feedback").status_code == 405


def test_a_folder_that_can_not_be_written_is_an_error_of_ours(
    stand_in_models: Path, tmp_path: Path
) -> None:
    settings = Settings(models_dir=stand_in_models, feedback_dir=tmp_path / "gone")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        reply = client.post("/feedback", json={"id": id_of(spoken(7)), "label": 7})
        assert reply.status_code == 500
        assert str(tmp_path) not in reply.text
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_volume_says_so_and_what_to_do(
    listening: TestClient, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, "No space left on device")

    feedback = {"id": id_of(spoken(7)), "label": 7}
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        reply = listening.post("/feedback", json=feedback)
    assert reply.status_code == 507
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["type"] == "/problems/volume-full"
    assert "DIGITS_FEEDBACK_DIR" in problem["detail"]
    count = re.search(
        r'_count\{.*route="/feedback",status="507"\} (\S+)', listening.get("/metrics").text
    )
    assert count
    assert float(count[1]) >= 1
    assert listening.post("/feedback", json=feedback).status_code == 204


def test_it_wants_a_key_where_keys_are_set(stand_in_models: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0" * 64)
    (tmp_path / "kept").mkdir()
    settings = Settings(
        models_dir=stand_in_models, feedback_dir=tmp_path / "kept", api_keys_file=keys
    )
    with TestClient(create_app(settings)) as client:
        assert client.post("/feedback", content=b"{}").status_code == 401
