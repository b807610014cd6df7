"""What is no JSON, what is JSON and no image, and what is large and legal."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.conftest import spoken
from tests.faults.server import ECHO, Reply, Server, assert_unharmed, wait_until

MAX_IMAGES = 64
SETTINGS = {"max_images": MAX_IMAGES, "max_pixels": 300_000}

FLAT = ",".join(["0"] * 784)


def image(value: str) -> bytes:
    return b'{"image":%s}' % value.encode()


CASES: list[tuple[str, bytes, str]] = [
    ("NaN", image("[[NaN,1]]"), "bad-pixels"),
    ("Infinity", image("[[Infinity,1]]"), "bad-pixels"),
    ("-Infinity", image("[[-Infinity,1]]"), "bad-pixels"),
    ("1e999", image("[[1e999,1]]"), "bad-pixels"),
    ("-1e999", image("[[-1e999,1]]"), "bad-pixels"),
    ("5,000 digits", image(f"[[{'9' * 5000},1]]"), "bad-pixels"),
    ("5,000 digits behind the point", image(f"[[256.{'9' * 5000},1]]"), "bad-pixels"),
    ("2**64", image(f"[[{2**64},1]]"), "bad-pixels"),
    ("15,000 deep", b"[" * 15_000, "malformed-body"),
    ("15,000 deep and closed", image("[" * 15_000 + "]" * 15_000), "malformed-body"),
    ("1,500 objects deep", b'{"image":' * 1_500, "malformed-body"),
    ("100,000 deep", b"[" * 100_000, "body-too-large"),
    ("100,000 objects deep", b'{"image":' * 100_000, "body-too-large"),
    ("500 deep", image("[" * 500 + "1" + "]" * 500), "bad-pixels"),
    ("ragged", image("[[1,2],[3]]"), "bad-pixels"),
    ("number among rows", image("[[1,2],3]"), "bad-pixels"),
    ("row among numbers", image("[1,[2,3]]"), "bad-pixels"),
    ("no rows", image("[]"), "bad-pixels"),
    ("empty rows", image("[[],[]]"), "bad-pixels"),
    ("783 in a row", image(f"[{FLAT[:-2]}]"), "bad-pixels"),
    ("785 in a row", image(f"[{FLAT},0]"), "bad-pixels"),
    ("colour", image("[[[1,2,3]]]"), "bad-pixels"),
    ("strings", image(f'[["{ECHO}"]]'), "bad-pixels"),
    ("numbers as strings", image('[["1","2"]]'), "bad-pixels"),
    ("booleans", image("[[true,false]]"), "bad-pixels"),
    ("null", image("[[null,1]]"), "bad-pixels"),
    ("null for an image", image("null"), "bad-pixels"),
    ("object for an image", image("{}"), "bad-pixels"),
    ("-1", image("[[-1,1]]"), "bad-pixels"),
    ("256", image("[[256,1]]"), "bad-pixels"),
    ("255.5", image("[[255.5,1]]"), "bad-pixels"),
    ("too many pixels", image("[[" + ",".join(["1"] * 300_001) + "]]"), "image-too-large"),
    ("a million rows", image("[" + "[1]," * 1_000_000 + "[1]]"), "body-too-large"),
    ("two million in a row", image("[[" + "1," * 2_000_000 + "1]]"), "body-too-large"),
    ("two million objects", image("[" + "{}," * 2_000_000 + "{}]"), "body-too-large"),
    ("many strings", b'{"images":[%s]}' % b",".join([b'""'] * 2_001), "body-too-large"),
    ("8 MB of one digit", b'{"image":' + b"7" * 8_000_000 + b"}", "bad-pixels"),
    ("8 MB of one string", image(f'"{"A" * 8_000_000}!"'), "bad-pixels"),
    ("8 MB of escapes", image('"' + "\\n" * 4_000_000 + '"'), "bad-pixels"),
    ("8 MB of space", b" " * 8_000_000, "malformed-body"),
    ("8 MB of minus signs", b'{"image":' + b"-" * 8_000_000 + b"}", "malformed-body"),
    ("20 MB of brackets", b'{"image":' + b"[" * 20_000_000, "body-too-large"),
    ("20 MB of one digit", b'{"image":' + b"7" * 20_000_000, "body-too-large"),
    ("empty string for an image", image('""'), "bad-pixels"),
    ("no base64", image(f'"{ECHO}!"'), "bad-pixels"),
    ("base64 of no image", image(f'"{ECHO * 10}"'), "not-an-image"),
    ("data URI of no image", image(f'"data:image/png,{ECHO}"'), "not-an-image"),
    ("binary", bytes(range(256)), "malformed-body"),
    ("nothing", b"", "malformed-body"),
    ("invalid utf-8", b'{"image":[["\xff\xfe"]]}', "malformed-body"),
    ("lone surrogate", image('[["\\ud800"]]'), "malformed-body"),
    ("utf-16", image("[[1,2]]").decode().encode("utf-16"), "malformed-body"),
    ("utf-32", image("[[1,2]]").decode().encode("utf-32-le"), "malformed-body"),
    ("not closed", image("[[1,2]]")[:-1], "malformed-body"),
    ("two documents", image("[[1,2]]") * 2, "malformed-body"),
    ("comment", b"// " + ECHO.encode() + b"\n" + image("[[1,2]]"), "malformed-body"),
    ("both names", b'{"image":[[1,2]],"images":[[[1,2]]]}', "bad-pixels"),
    ("another name besides", b'{"image":[[1,2]],"%s":1}' % ECHO.encode(), "bad-pixels"),
    ("name twice", b'{"image":[[1,2]],"image":[[1,2]]}', "bad-pixels"),
    ("another name", b'{"%s":[[1,2]]}' % ECHO.encode(), "bad-pixels"),
    ("rows alone", b"[[1,2]]", "bad-pixels"),
    ("number alone", b"7", "bad-pixels"),
    ("text alone", b'"7"', "bad-pixels"),
    ("empty object", b"{}", "bad-pixels"),
    ("images not a list", b'{"images":7}', "bad-pixels"),
    ("empty batch", b'{"images":[]}', "empty-batch"),
    ("one too many", b'{"images":[%s]}' % b",".join([b"[[1,2]]"] * 65), "too-many-images"),
    ("a bad one among many", b'{"images":[[[1,2]],[[1,-2]]]}', "bad-pixels"),
]


@pytest.mark.parametrize(("body", "slug"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_refused(server: Server, body: bytes, slug: str) -> None:
    reply = server.predict(body, "application/json")
    assert reply.problem == slug
    assert_unharmed(server, [reply])


def test_the_index_of_a_bad_image_is_named(server: Server) -> None:
    reply = server.predict(b'{"images":[[[1,2]],[[1,-2]]]}', "application/json")
    assert "Image 1" in reply.json["detail"]


def as_json(images: list[list[list[float]]]) -> bytes:
    return json.dumps({"images": images}).encode()


def predictions(reply: Reply) -> object:
    assert reply.status == 200, reply.body
    return reply.json["predictions"]


def test_a_full_batch_is_answered_in_order(server: Server) -> None:
    images = [spoken(index % 10).tolist() for index in range(MAX_IMAGES)]
    reply = server.predict(as_json(images), "application/json", "?normalize=false")
    assert [one["label"] for one in reply.json["predictions"]] == [i % 10 for i in range(64)]
    assert_unharmed(server, [reply])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xef\xbb\xbf" + image("[[1,2]]"), id="byte order mark"),
        pytest.param(image("[ [ 1 ,\r\n2 ] ]\t"), id="white space"),
        pytest.param(image("[[1.0,2e0]]"), id="floats"),
    ],
)
def test_read_as_the_plain_one(server: Server, body: bytes) -> None:
    plain = server.predict(image("[[1,2]]"), "application/json", "?include=seen")
    reply = server.predict(body, "application/json", "?include=seen")
    assert predictions(reply) == predictions(plain)
    assert_unharmed(server, [reply])


@pytest.mark.parametrize("scale", [pytest.param(1, id="levels"), pytest.param(255, id="shares")])
def test_a_large_body_is_read_as_small_ones_are(server: Server, scale: int) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (8, 200, 200))
    noise[:, 0, 0] = 255
    images = (noise if scale == 1 else noise / scale).tolist()
    large = server.predict(as_json(images), "application/json", "?include=seen")
    small = [server.predict(as_json([one]), "application/json", "?include=seen") for one in images]
    assert predictions(large) == [one for reply in small for one in predictions(reply)]  # type: ignore[attr-defined]
    assert_unharmed(server)


@pytest.mark.parametrize(
    ("row", "slug"),
    [
        pytest.param("[1,-1]", "bad-pixels", id="negative"),
        pytest.param("[1]", "bad-pixels", id="ragged"),
        pytest.param("[1,2", "malformed-body", id="not closed"),
        pytest.param("[1 2]", "malformed-body", id="no comma"),
        pytest.param("[1,NaN]", "bad-pixels", id="NaN"),
        pytest.param("7", "bad-pixels", id="no row"),
        pytest.param('""', "bad-pixels", id="empty string"),
        pytest.param("[[1,2]]", "bad-pixels", id="deeper"),
    ],
)
def test_one_bad_row_in_a_large_body(server: Server, row: str, slug: str) -> None:
    reply = server.predict(image("[" + "[1,2]," * 19_000 + row + "]"), "application/json")
    assert reply.problem == slug
    assert_unharmed(server, [reply])


def test_nothing_is_held_afterwards(server: Server) -> None:
    wait_until(lambda: server.metric("digits_waiting_images") == 0)
    assert server.metric("digits_body_bytes") == 0
    assert server.metric("digits_working_bytes") == 0
