from __future__ import annotations

import base64
import dataclasses
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from app.api import predict
from app.api.formats import ParseRequest
from app.api.formats.pixels import MAX_LISTS, MAX_NUMBERS, MAX_STRINGS
from app.errors import PROBLEMS, NotReady
from app.inference.registry import ModelRegistry
from app.serving import predictor
from app.serving.predictions import Predictions
from app.vision.decode import FORMATS, HEIC, decode
from tests.api.calls import (
    AS_IS,
    JSON,
    PNG,
    SEVEN,
    body_messages,
    detail_of,
    labels,
    services_in,
    start_post,
)
from tests.conftest import png, spoken

ROWS = spoken(7).tolist()
BASE64 = base64.b64encode(SEVEN).decode()
DATA_URI = f"data:image/png;base64,{BASE64}"
OCTETS = {"content-type": "application/octet-stream"}
TEXT = {"content-type": "text/plain"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
FORM = {"content-type": "multipart/form-data; boundary=xx"}
WIDE = png(np.zeros((200, 201), np.uint8))


def encoded(name: str, image: NDArray[np.uint8]) -> bytes:
    """`image` as a file of a format; the names are Pillow's too."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, name, **({"lossless": True} if name == "WebP" else {}))
    return file.getvalue()


def parts(*images: bytes, field: str = "file") -> list[tuple[str, tuple[str, bytes, str]]]:
    """Files of a form for httpx."""
    return [(field, ("7.png", image, "image/png")) for image in images]


def is_idle(client: TestClient) -> bool:
    """Whether every lease has been returned."""
    admission = services_in(client).admission
    return not (admission.images.held or admission.bodies.held or admission.working.held)


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; what is waited for here takes a few milliseconds."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def _all_is_returned(client: TestClient) -> Iterator[None]:
    """Whatever a request comes to, nothing of the process's limits stays with it."""
    yield
    until(lambda: is_idle(client))


# The ways to send an image


@pytest.mark.parametrize("field", ["file", "file[]", "file[0]"])
def test_a_file_of_a_form(client: TestClient, field: str) -> None:
    assert labels(client.post(AS_IS, files=parts(SEVEN, field=field))) == [7]


def test_several_files_of_a_form_and_a_field_beside_them(client: TestClient) -> None:
    files = parts(*[png(spoken(label)) for label in (3, 1, 4)])
    assert labels(client.post(AS_IS, files=files, data={"note": "x"})) == [3, 1, 4]


def test_numbered_files_of_a_form(client: TestClient) -> None:
    files = [(f"file[{n}]", ("a.png", png(spoken(n)), "image/png")) for n in (2, 0, 1)]
    assert labels(client.post(AS_IS, files=files)) == [2, 0, 1]


def test_text_in_a_form(client: TestClient) -> None:
    assert labels(client.post(AS_IS, files={"file": (None, DATA_URI)})) == [7]


@pytest.mark.parametrize("kind", [kind for row in FORMATS for kind in row.media_types])
def test_an_image_as_the_body(client: TestClient, kind: str) -> None:
    assert labels(client.post(AS_IS, content=SEVEN, headers={"content-type": kind})) == [7]


@pytest.mark.parametrize(
    "name", [row.name for row in FORMATS if row is not HEIC and row.name != "JPEG"]
)
@pytest.mark.parametrize("headers", [PNG, OCTETS, TEXT, URLENCODED, {}], ids=str)
def test_the_bytes_decide_what_an_image_is(
    client: TestClient, name: str, headers: dict[str, str]
) -> None:
    file = encoded(name, spoken(7))
    assert labels(client.post(AS_IS, content=file, headers=headers)) == [7]
    assert labels(client.post(AS_IS, files={"file": ("7.txt", file, "text/plain")})) == [7]


def test_a_jpeg_as_the_body(client: TestClient) -> None:
    answer = client.post("/predict", content=encoded("JPEG", spoken(7)), headers=OCTETS)
    assert len(labels(answer)) == 1


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(ROWS, id="rows"),
        pytest.param(spoken(7).astype(float).tolist(), id="rows with a point"),
        pytest.param((spoken(7) / 255).tolist(), id="shares"),
        pytest.param(spoken(7).ravel().tolist(), id="784 numbers"),
        pytest.param((spoken(7) / 255).ravel().tolist(), id="784 shares"),
        pytest.param([spoken(7).ravel().tolist()], id="1×784"),
        pytest.param(spoken(7).reshape(784, 1).tolist(), id="784×1"),
        pytest.param([ROWS], id="1×28×28"),
        pytest.param(spoken(7)[..., None].tolist(), id="28×28×1"),
        pytest.param(spoken(7)[None, ..., None].tolist(), id="1×28×28×1"),
        pytest.param(BASE64, id="base64"),
        pytest.param(BASE64.rstrip("="), id="base64 without padding"),
        pytest.param(DATA_URI, id="data URI"),
    ],
)
def test_json(client: TestClient, image: Any) -> None:
    assert labels(client.post(AS_IS, json={"image": image})) == [7]
    several = [spoken(2).tolist(), image, spoken(1).ravel().tolist()]
    assert labels(client.post(AS_IS, json={"images": several})) == [2, 7, 1]


@pytest.mark.parametrize("headers", [OCTETS, TEXT, URLENCODED, {}, JSON], ids=str)
def test_json_is_told_by_its_bytes(client: TestClient, headers: dict[str, str]) -> None:
    body = json.dumps({"image": ROWS}, indent=1).encode()
    assert labels(client.post(AS_IS, content=body, headers=headers)) == [7]
    assert labels(client.post(AS_IS, content=b"\xef\xbb\xbf" + body, headers=headers)) == [7]


@pytest.mark.parametrize("text", [BASE64, DATA_URI], ids=["base64", "data URI"])
@pytest.mark.parametrize("headers", [OCTETS, TEXT, URLENCODED, {}, PNG], ids=str)
def test_text_as_the_body(client: TestClient, headers: dict[str, str], text: str) -> None:
    assert labels(client.post(AS_IS, content=text, headers=headers)) == [7]


@pytest.mark.parametrize("field", ["image", "images[]", "file"])
def test_a_urlencoded_form(client: TestClient, field: str) -> None:
    body = urlencode([(field, DATA_URI), (field, BASE64)])
    assert labels(client.post(AS_IS, content=body, headers=URLENCODED)) == [7, 7]


def test_shares_and_levels_are_the_same_image(client: TestClient) -> None:
    image = spoken(7)
    image[5, 5] = 255
    answers = [
        client.post(AS_IS, json={"image": sent}).content
        for sent in (image.tolist(), (image / 255).tolist(), image.ravel().tolist())
    ]
    assert answers[0] == answers[1] == answers[2]


# Answers


def test_an_answer_in_full(client: TestClient) -> None:
    response = client.post(AS_IS, content=SEVEN, headers=PNG)
    (prediction,) = response.json()["predictions"]
    assert prediction.keys() == {"label", "confidence", "probabilities", "rejected"}
    assert len(prediction["probabilities"]) == 10
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert prediction["confidence"] == prediction["probabilities"][7]
    assert prediction["rejected"] is None


def test_a_rejected_image_does_not_change_its_neighbors(client: TestClient) -> None:
    images = [
        spoken(1),
        np.zeros((28, 28), np.uint8),
        spoken(2, score=0.2),
        spoken(3, share=0.3),
        spoken(4),
    ]
    response = client.post(AS_IS, json={"images": [image.tolist() for image in images]})
    assert labels(response) == [1, None, 2, 3, 4]
    predictions = response.json()["predictions"]
    reasons = [None, "blank", "not_a_digit", "uncertain", None]
    assert [one["rejected"] for one in predictions] == reasons
    assert predictions[1]["probabilities"] == [0.1] * 10
    assert predictions[1]["confidence"] == 0.1


def test_what_was_seen(client: TestClient) -> None:
    page = np.full((90, 70), 255, np.uint8)
    cv2.line(page, (35, 20), (35, 69), 0, 6)
    response = client.post("/predict?include=seen", content=png(page), headers=PNG)
    seen = response.json()["predictions"][0]["seen"]
    assert seen.keys() == {"image", "inverted", "box", "boxes", "warnings"}
    assert seen["inverted"] is True
    assert np.abs(np.subtract(seen["box"], (32, 20, 38, 70))).max() <= 3
    assert pixels_of(seen["image"]).shape == (28, 28)
    assert pixels_of(seen["image"]).max() > 200


def pixels_of(uri: str) -> NDArray[np.uint8]:
    kind, text = uri.split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), np.uint8)


squares = hnp.arrays(np.uint8, (28, 28), elements=st.integers(0, 255), fill=st.integers(0, 255))


@settings(max_examples=50)
@given(squares, st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "1"]), st.integers(0, 9))
def test_a_png_is_the_pixels_that_pillow_has(
    client: TestClient, pixels: NDArray[np.uint8], mode: str, level: int
) -> None:
    pixels[0, 11:13] = 0  # the stand-in would fail
    picture = Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=level)
    url = f"{AS_IS}&include=seen"
    for sent in ({"content": file.getvalue(), "headers": PNG}, {"files": parts(file.getvalue())}):
        response = client.post(url, **sent)
        seen = pixels_of(response.json()["predictions"][0]["seen"]["image"])
        assert np.abs(seen - np.asarray(picture.convert("L"), np.int16)).max() <= (mode == "P")


BODIES: list[tuple[bytes, dict[str, str]]] = [
    (SEVEN, PNG),
    (SEVEN, {}),
    (json.dumps({"images": [ROWS, BASE64]}).encode(), JSON),
    (BASE64.encode(), TEXT),
    (
        b'--xx\r\nContent-Disposition: form-data; name="file"; filename="7.png"\r\n\r\n'
        + SEVEN
        + b"\r\n--xx--\r\n",
        FORM,
    ),
    (b'{"image": [[1, 2], [3]]}', JSON),
    (b"nothing", PNG),
]


@settings(max_examples=50)
@given(st.sampled_from(BODIES), st.lists(st.floats(0, 1), max_size=6), st.booleans())
def test_a_body_may_come_in_any_chunks(
    client: TestClient,
    app: FastAPI,
    sent: tuple[bytes, dict[str, str]],
    cuts: list[float],
    is_declared: bool,
) -> None:
    body, headers = sent
    headers = headers | {"x-request-id": "abc"}
    at = sorted(round(cut * len(body)) for cut in cuts)
    chunks = [body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True)]
    length = {"content-length": str(len(body))} if is_declared else {}
    whole = client.post(AS_IS, content=body, headers=headers)
    cut = start_post(client, app, body_messages(chunks), headers | length).result()
    assert cut == (whole.status_code, whole.content)


def test_an_idle_connection_holds_no_pictures(client: TestClient, app: FastAPI) -> None:
    scopes: list[Scope] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)  # as the server does, until the connection's next request
        await app(scope, receive, send)

    assert start_post(client, watched, body_messages([SEVEN]), PNG).result()[0] == 200
    reachable: list[object] = [scopes[0]["state"]]
    for one in reachable:  # it grows
        assert not isinstance(one, np.ndarray | bytes | Predictions)
        reachable += (
            one.values() if isinstance(one, dict) else one if isinstance(one, tuple) else ()
        )


# Problems

REFUSED: list[Any] = [
    ("not JSON", {"content": b"{", "headers": JSON}, "malformed-body", "The body is not JSON."),
    ("empty JSON", {"content": b"", "headers": JSON}, "malformed-body", "The body is empty. "),
    ("no boundary", {"content": b"--xx", "headers": {"content-type": "multipart/form-data"}},
     "malformed-body", "The Content-Type has no boundary."),
    ("cut-off form", {"content": b"--xx\r\n", "headers": FORM}, "malformed-body",
     "The multipart body ends before its last boundary."),
    ("form without type", {"content": b"--xx\r\n"}, "malformed-body", "The body looks like a form"),
    ("too many bytes", {"content": bytes(200_001), "headers": PNG}, "body-too-large",
     "A body has at most 200,000 bytes."),
    ("too many bytes in chunks", {"content": iter([bytes(100_000)] * 3), "headers": PNG},
     "body-too-large", "A body has at most 200,000 bytes."),
    ("too many lists", {"content": b"[" * (MAX_LISTS + 1)}, "body-too-large",
     f"A JSON body has at most {MAX_LISTS:,} rows."),
    ("too many strings", {"content": b"[" + b'""' * (MAX_STRINGS + 1)}, "body-too-large",
     f"A JSON body has at most {MAX_STRINGS:,} strings."),
    ("PDF type", {"content": SEVEN, "headers": {"content-type": "application/pdf"}},
     "unsupported-content-type", "Send multipart/form-data with a field `file`"),
    ("compressed", {"content": SEVEN, "headers": PNG | {"content-encoding": "gzip"}},
     "unsupported-encoding", "Send the body without Content-Encoding"),
    ("no bytes", {"content": b"", "headers": PNG}, "empty-batch", "Send at least one image"),
    ("nothing at all", {}, "empty-batch", "Send at least one image"),
    ("no arrays", {"json": {"images": []}}, "empty-batch", "Send at least one image"),
    ("no file", {"data": {"x": "1"}, "files": {"y": (None, "2")}}, "empty-batch", "Send at least"),
    ("a name for a file", {"files": {"file": (None, "my 7.png")}}, "empty-batch",
     "The field `file` holds text, not a file."),
    ("familiar field", {"files": parts(SEVEN, field="image")}, "unknown-field",
     "A file came in the field `image`. Name the field `file`."),
    ("other field", {"files": parts(SEVEN, field="secret")}, "unknown-field",
     "A file came in a field of another name. Name the field `file`."),
    ("too many files", {"files": parts(*[SEVEN] * 9)}, "too-many-images",
     "A request has at most 8 images."),
    ("too many arrays", {"json": {"images": [ROWS] * 9}}, "too-many-images",
     "A request has at most 8 images; send several requests."),
    ("out of range", {"json": {"image": [[256]]}}, "bad-pixels", "Image 0 has a value"),
    ("booleans", {"json": {"image": [[True, False]]}}, "bad-pixels", "Image 0 has rows of"),
    ("not a number", {"content": b'{"image": [[NaN]]}'}, "bad-pixels", "A number is not finite"),
    ("an empty row", {"content": b'{"image": [[]]}'}, "bad-pixels", "Image 0 has rows of"),
    ("rows and an object", {"content": b'{"image": [[],{}]}'}, "bad-pixels", "Image 0 has rows"),
    ("color", {"json": {"image": [[[1, 2, 3]] * 2] * 2}}, "bad-pixels", "Image 0 is 2×2×3, which"),
    ("not 28×28", {"json": {"images": [ROWS, [[0, 1]]]}}, "bad-pixels",
     "Image 1: with normalize=false an image is 28×28, not 2×1."),
    ("PNG that is not 28×28", {"content": png(np.eye(9, dtype=np.uint8)), "headers": PNG},
     "bad-pixels", "Image 0: with normalize=false an image is 28×28, not 9×9."),
    ("text", {"content": b"text", "headers": PNG}, "not-an-image",
     "Image 0: The bytes are text, and no image; send the image's own file."),
    ("PDF", {"content": b"%PDF-1.7"}, "not-an-image", "Image 0: The bytes are a PDF;"),
    ("second is none", {"files": parts(SEVEN, b"text", SEVEN)}, "not-an-image", "Image 1: The"),
    ("empty file", {"files": parts(SEVEN, b"")}, "not-an-image",
     "Image 1: There are no bytes; send the image's own file."),
    ("text of text", {"json": {"image": "AAAA"}}, "not-an-image", "Image 0: The bytes are no"),
    ("cut-off PNG", {"content": SEVEN[:-20], "headers": PNG}, "broken-image", "Image 0: "),
    ("header of a PNG", {"content": SEVEN[:20], "headers": PNG}, "broken-image",
     "Image 0: The PNG is truncated. Save or send it again."),
    ("second is broken", {"files": parts(SEVEN, SEVEN[:-20])}, "broken-image", "Image 1: "),
    ("too many pixels", {"content": WIDE, "headers": PNG}, "image-too-large",
     "Image 0: 201 × 200 pixels; at most 40,000 are read."),
    ("too many numbers for an image", {"json": {"images": [[[0] * 201] * 200]}}, "image-too-large",
     "Image 0: 201 × 200 pixels; at most 40,000 are read."),
    *(
        (f"X-Deadline-Seconds: {text}",
         {"content": SEVEN, "headers": PNG | {"x-deadline-seconds": text}}, "bad-parameter",
         "X-Deadline-Seconds is a number above 0.")
        for text in ("0", "-1", "soon", "nan", "inf")
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "slug", "detail"), [pytest.param(*row, id=name) for name, *row in REFUSED]
)
def test_what_is_refused(client: TestClient, sent: dict[str, Any], slug: str, detail: str) -> None:
    before = client.post(AS_IS, content=SEVEN, headers=PNG).content
    assert detail_of(client.post(AS_IS, **sent), slug).startswith(detail)
    assert client.post(AS_IS, content=SEVEN, headers=PNG).content == before


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        ("/predict", "identity"),
        ("/read", "identity"),
        ("/v1/models/digits:predict", "deflate, gzip, x-gzip"),
        ("/v2/models/digits/infer", "deflate, gzip, x-gzip"),
    ],
)
def test_which_encodings_are_taken_is_said(client: TestClient, path: str, accepted: str) -> None:
    refusal = client.post(path, content=b"{}", headers={"content-encoding": "br"})
    assert refusal.headers["accept-encoding"] == accepted
    assert "accept-encoding" not in client.post(path, content=b"{}").headers


@pytest.mark.parametrize(("content", "status"), [(SEVEN, 200), (b"no image", 415)])
def test_a_body_is_counted_whatever_comes_of_it(
    client: TestClient, content: bytes, status: int
) -> None:
    def received() -> float:
        name = 'digits_http_request_size_bytes_sum{route="/predict"}'
        lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines()]
        return sum(float(value) for series, _, value in lines if series == name)

    before = received()
    assert client.post(AS_IS, content=content).status_code == status
    assert received() - before == len(content)


def test_every_problem_that_a_request_can_meet_is_tested_here() -> None:
    elsewhere = {
        *("bad-request", "request-timeout", "headers-too-large", "unknown-method"),  # the server's
        *("unauthorized", "forbidden", "not-found", "method-not-allowed"),
        *("queue-full", "draining", "not-ready", "deadline-exceeded"),  # below
        *("client-gone", "internal-error", "volume-full", "bad-feedback"),
    }
    assert {slug for _, _, slug, _ in REFUSED} | elsewhere == PROBLEMS.keys()


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("normalize=perhaps", "`normalize` is true or false."),
        ("include=everything", "`include` is seen."),
        ("include=seen&include=x", "`include` is seen."),
        ("secret=1", "A query parameter is unknown; there are normalize and include."),
        ("normalise=false", "A query parameter is unknown; there are normalize and include."),
    ],
)
def test_parameters_are_refused_before_the_body_is_read(
    client: TestClient, app: FastAPI, query: str, detail: str
) -> None:
    status, body = start_post(client, app, [], PNG, query=query.encode()).result()
    assert (status, json.loads(body)["detail"]) == (422, detail)
    response = client.post(f"/predict?{query}", content=SEVEN, headers=PNG)
    assert detail_of(response, "bad-parameter") == detail


def test_a_declared_length_is_refused_before_the_body_is_read(
    client: TestClient, app: FastAPI
) -> None:
    headers = PNG | {"content-length": "200001"}
    status, body = start_post(client, app, [], headers).result()
    assert (status, json.loads(body)["type"]) == (413, "/problems/body-too-large")


def test_as_much_as_may_be_is_taken(client: TestClient) -> None:
    padded = SEVEN + bytes(200_000 - len(SEVEN))
    assert labels(client.post(AS_IS, content=padded, headers=PNG)) == [7]
    assert labels(client.post(AS_IS, files=parts(*[SEVEN] * 8))) == [7] * 8
    assert len(labels(client.post("/predict", content=SEVEN, headers=PNG))) == 1
    square = png(np.zeros((200, 200), np.uint8))
    assert labels(client.post("/predict", content=square, headers=PNG)) == [None]


def test_json_has_a_limit_of_its_own(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    services = services_in(client)
    few = services.settings.model_copy(update={"max_json_bytes": 10_000})
    changed = dataclasses.replace(services, settings=few)
    monkeypatch.setattr(predict, "services_of", lambda scope: changed)
    body = json.dumps({"image": ROWS}).encode()
    for headers in (JSON, {}):
        most = client.post(AS_IS, content=body.ljust(10_000), headers=headers)
        assert labels(most) == [7]
        response = client.post(AS_IS, content=body.ljust(10_001), headers=headers)
        assert detail_of(response, "body-too-large").startswith("A JSON body has at most 10,000")
    large = png(np.random.default_rng(1).integers(0, 256, (150, 150), np.uint8))
    assert len(large) > 10_000
    assert labels(client.post("/predict", content=large, headers=PNG)) != []


def test_numbers_have_a_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    services = services_in(client)
    more = services.settings.model_copy(update={"max_body_bytes": 10**6, "max_json_bytes": 10**6})
    changed = dataclasses.replace(services, settings=more)
    monkeypatch.setattr(predict, "services_of", lambda scope: changed)
    monkeypatch.setattr(services.admission.bodies, "limit", 10**6)
    response = client.post(AS_IS, content=b"[" + b"," * (MAX_NUMBERS + 1), headers=JSON)
    detail = detail_of(response, "body-too-large")
    assert detail == "A JSON body has at most 400,000 numbers. Send the image as a PNG or JPEG."


@pytest.mark.parametrize("levels", [*range(7, 30), 100, 300, 1000, 1020])
def test_lists_in_lists(client: TestClient, levels: int) -> None:
    body = b'{"image": %s7%s}' % (b"[" * levels, b"]" * levels)
    response = client.post(AS_IS, content=body, headers=JSON)
    assert detail_of(response, "bad-pixels").startswith("Image 0 has lists in lists, 6 deep;")


MARK = "s3cr3t"
ECHO: list[Any] = [
    ("path", "/s3cr3t", {}),
    ("slug", "/problems/s3cr3t", {}),
    ("parameter", f"/predict?{MARK}=1", {}),
    ("value", f"/predict?normalize={MARK}", {}),
    ("include", f"/predict?include={MARK}", {}),
    ("deadline", AS_IS, {"headers": {"x-deadline-seconds": MARK}}),
    ("encoding", AS_IS, {"headers": {"content-encoding": MARK}}),
    ("type", AS_IS, {"content": b"x", "headers": {"content-type": f"{MARK}/{MARK}"}}),
    ("request ID", "/nowhere", {"headers": {"x-request-id": f"{MARK} {MARK}"}}),
    ("boundary", AS_IS, {"content": b"x", "headers": {
        "content-type": f"multipart/form-data; boundary={MARK}"}}),
    ("key", AS_IS, {"json": {MARK: 1}}),
    ("other key", AS_IS, {"json": {"image": [[1]], MARK: 1}}),
    ("pixel", AS_IS, {"json": {"image": [[MARK]]}}),
    ("text", AS_IS, {"json": {"image": f"{MARK}!"}}),
    ("text that is base64", AS_IS, {"json": {"image": MARK + MARK}}),
    ("value in JSON", AS_IS, {"json": {"image": {MARK: MARK}}}),
    ("no JSON", AS_IS, {"content": MARK, "headers": JSON}),
    ("cut-off JSON", AS_IS, {"content": f'{{"{MARK}": "{MARK}', "headers": JSON}),
    ("body", AS_IS, {"content": MARK}),
    ("image", AS_IS, {"content": MARK, "headers": PNG}),
    ("broken image", AS_IS, {"content": SEVEN[:30] + MARK.encode(), "headers": PNG}),
    ("field", AS_IS, {"files": {MARK: (MARK, SEVEN, MARK)}}),
    ("file", AS_IS, {"files": {"file": (MARK, MARK.encode(), MARK)}}),
    ("name for a file", AS_IS, {"files": {"file": (None, f"my {MARK}.png")}}),
    ("text field", AS_IS, {"data": {"x": MARK}, "files": {"y": (None, MARK)}}),
    ("urlencoded", AS_IS, {"content": f"image={MARK}!", "headers": URLENCODED}),
    ("urlencoded field", AS_IS, {"content": f"{MARK}={MARK}", "headers": URLENCODED}),
    ("part", AS_IS, {"content": f"--xx\r\n{MARK}\r\n\r\nx\r\n--xx--", "headers": FORM}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "sent"), [pytest.param(url, sent, id=name) for name, url, sent in ECHO]
)
def test_no_problem_repeats_what_was_sent(
    client: TestClient, url: str, sent: dict[str, Any]
) -> None:
    response = client.post(url, **sent)
    if url.startswith("/problems"):
        response = client.get(url)
    assert response.status_code >= 400
    assert response.headers["content-type"] == "application/problem+json"
    assert MARK not in response.text
    assert not any(MARK in value for value in response.headers.values())


# Not now


@pytest.mark.parametrize("others", [11, 12])
def test_too_many_images_wait(client: TestClient, others: int) -> None:
    images = services_in(client).admission.images
    assert images.try_acquire(others)
    two = client.post(AS_IS, files=parts(SEVEN, SEVEN))
    one = client.post(AS_IS, content=SEVEN, headers=PNG)
    assert client.get("/healthz").status_code == 200
    assert f"digits_waiting_images {others}.0" in client.get("/metrics").text
    images.release(others)
    assert detail_of(two, "queue-full") == "As many images wait as may wait; try again shortly."
    assert two.headers["retry-after"] == "1"
    assert one.status_code == (200 if others == 11 else 503)
    assert labels(client.post(AS_IS, files=parts(SEVEN, SEVEN))) == [7, 7]


def test_a_full_queue_refuses_before_the_body_is_read(client: TestClient, app: FastAPI) -> None:
    images = services_in(client).admission.images
    assert images.try_acquire(12)
    status, body = start_post(client, app, [], PNG).result()
    images.release(12)
    assert (status, json.loads(body)["type"]) == (503, "/problems/queue-full")


def test_who_drains_takes_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_in(client).admission, "closed", True)
    response = client.post(AS_IS, content=b"text", headers=PNG)
    assert detail_of(response, "draining") == PROBLEMS["draining"].remedy
    assert response.headers["retry-after"] == "1"


def test_who_has_no_model_takes_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(registry: ModelRegistry) -> None:
        raise NotReady

    monkeypatch.setattr(ModelRegistry, "live", property(none))
    response = client.post(AS_IS, content=SEVEN, headers=PNG)
    assert detail_of(response, "not-ready") == PROBLEMS["not-ready"].remedy
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("kind", ["bodies", "working"])
def test_memory_that_does_not_come_free_in_time(client: TestClient, kind: str) -> None:
    budget = getattr(services_in(client).admission, kind)
    held = budget.limit - 10
    assert budget.try_acquire(held)
    headers = PNG | {"x-deadline-seconds": "0.05"}
    response = client.post(AS_IS, content=SEVEN, headers=headers)
    budget.release(held)
    detail = detail_of(response, "queue-full")
    assert detail == "The memory for requests is in use; try again shortly."
    assert response.headers["retry-after"] == "1"


def test_memory_that_comes_free_is_waited_for(client: TestClient, app: FastAPI) -> None:
    bodies = services_in(client).admission.bodies
    assert bodies.try_acquire(bodies.limit)
    headers = PNG | {"content-length": str(len(SEVEN))}
    waiting = start_post(client, app, body_messages([SEVEN]), headers)
    assert client.portal
    client.portal.call(bodies.release, bodies.limit)
    assert waiting.result()[0] == 200


def test_a_body_of_unknown_length_does_not_wait_for_memory(client: TestClient) -> None:
    bodies = services_in(client).admission.bodies
    assert bodies.try_acquire(bodies.limit - 10)
    response = client.post(AS_IS, content=iter([SEVEN]), headers=PNG)
    bodies.release(bodies.limit - 10)
    assert detail_of(response, "queue-full")


def test_an_image_that_takes_more_memory_than_there_is(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services_in(client).admission.working, "limit", 1000)
    response = client.post(AS_IS, content=SEVEN, headers=PNG)
    assert detail_of(response, "image-too-large").startswith("It takes 0 MiB to decode; ")


@pytest.mark.parametrize("arrived", [None, 100.0], ids=["short", "late"])
def test_a_deadline_that_has_passed_spares_the_parsing(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, arrived: float | None
) -> None:
    monkeypatch.setattr(ParseRequest, "parse", None)
    seconds = "1e-9" if arrived is None else "99"
    state = {"received_at": time.monotonic() - arrived} if arrived else {}
    headers = JSON | {"x-deadline-seconds": seconds}
    messages = body_messages([b"{"])
    status, body = start_post(client, app, messages, headers, state=state).result()
    assert (status, json.loads(body)["type"]) == (504, "/problems/deadline-exceeded")
    assert json.loads(body)["detail"] == PROBLEMS["deadline-exceeded"].remedy


@pytest.mark.parametrize("seconds", ["30", "1e9"])
def test_a_deadline_that_has_not_passed_changes_nothing(client: TestClient, seconds: str) -> None:
    headers = PNG | {"x-deadline-seconds": seconds}
    assert labels(client.post(AS_IS, content=SEVEN, headers=headers)) == [7]


# Work in threads


@pytest.fixture
def threads(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done on the event loop, however little it costs."""
    services = services_in(client)
    monkeypatch.setattr(services.parser, "inline_cost", 0)
    monkeypatch.setattr(services.predictions, "inline_cost", 0)


@pytest.fixture
def busy(threads: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The one thread does not come back from decoding before the end; the event says it began."""
    began, over = threading.Event(), threading.Event()

    def wait(*args: Any) -> Any:
        began.set()
        over.wait(30)
        return decode(*args)

    monkeypatch.setattr(predictor, "decode", wait)
    yield began
    over.set()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("body", "headers"), BODIES)
def test_a_thread_answers_as_the_event_loop_does(
    client: TestClient, body: bytes, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {"content": body, "headers": headers | {"x-request-id": "abc"}}
    threaded = client.post(AS_IS, **sent)
    monkeypatch.undo()
    assert client.post(AS_IS, **sent).content == threaded.content


@pytest.mark.usefixtures("threads")
def test_a_thread_parses_what_is_large(client: TestClient) -> None:
    body = json.dumps({"image": ROWS}, indent=8).encode()
    assert len(body) > predict.DIRECT_COST
    assert labels(client.post(AS_IS, content=body, headers=JSON)) == [7]
    response = client.post(AS_IS, content=body[:-3], headers=JSON)
    assert detail_of(response, "malformed-body") == "The body is not JSON."


@pytest.mark.usefixtures("busy")
def test_a_deadline_that_passes_in_a_thread(client: TestClient) -> None:
    headers = PNG | {"x-deadline-seconds": "0.05"}
    response = client.post(AS_IS, content=SEVEN, headers=headers)
    assert detail_of(response, "deadline-exceeded") == PROBLEMS["deadline-exceeded"].remedy
    for path in ("/healthz", "/readyz", "/livez", "/metrics", "/model"):
        assert client.get(path).status_code == 200


def test_a_client_that_leaves_while_a_thread_works(
    client: TestClient, app: FastAPI, busy: threading.Event
) -> None:
    messages = body_messages([SEVEN])
    status, body = start_post(client, app, messages, PNG, leaves=busy).result()
    assert (status, json.loads(body)["type"]) == (499, "/problems/client-gone")
    # A thread that has begun can't be interrupted, and keeps its share until it comes back.
    assert services_in(client).admission.images.held == 1


def test_a_client_that_leaves_before_its_body_is_whole(client: TestClient, app: FastAPI) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": SEVEN[:9], "more_body": True},
        {"type": "http.disconnect"},
    ]
    status, body = start_post(client, app, messages, PNG).result()
    assert (status, json.loads(body)["type"]) == (499, "/problems/client-gone")


# Failures inside


def failing(pixel: int) -> bytes:
    """A picture that the stand-in fails on."""
    image = spoken(7)
    image[0, pixel] = 255
    return png(image)


@pytest.mark.parametrize("query", [b"", b"normalize=false"])
def test_a_connection_that_waits_keeps_no_image(
    client: TestClient, app: FastAPI, query: bytes
) -> None:
    scopes: list[Scope] = []

    async def kept(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)  # as a server's connection does, until its next request
        await app(scope, receive, send)

    body = bytes([*SEVEN])
    held = sys.getrefcount(body)
    messages = body_messages([body])
    status, _ = start_post(client, kept, messages, PNG, query=query).result()
    messages.clear()
    assert status == 200
    assert "request_id" in scopes[0]["state"]
    assert sys.getrefcount(body) == held


@pytest.mark.parametrize("pixel", [11, 12], ids=["the call fails", "not finite"])
def test_a_failure_of_the_model_is_not_told(client: TestClient, pixel: int) -> None:
    response = client.post(AS_IS, content=failing(pixel), headers=PNG)
    assert detail_of(response, "internal-error") == "The model failed."
    assert labels(client.post(AS_IS, content=SEVEN, headers=PNG)) == [7]


def test_a_failure_that_nobody_thought_of_is_not_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("s3cr3t")

    monkeypatch.setattr(predictor, "normalize", fail)
    response = client.post("/predict", content=SEVEN, headers=PNG)
    assert detail_of(response, "internal-error") == PROBLEMS["internal-error"].remedy
    assert labels(client.post(AS_IS, content=SEVEN, headers=PNG)) == [7]
