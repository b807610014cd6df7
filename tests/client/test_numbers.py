from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.inference import grammar
from digits import (
    Alternative,
    AsyncClient,
    Client,
    ImageError,
    Model,
    NumberDigit,
    Retries,
    SeenRow,
    UnexpectedAnswer,
    arguments,
)
from digits.command import ALL_READ, SOME_NOT_READ, USAGE_ERROR, main
from tests.client.service import problem
from tests.conftest import EXAMPLES, png
from tests.faults.server import Server
from tests.serving.test_reader import row

BOX = [1, 2, 30, 40]
TWELVE: dict[str, Any] = {
    "text": "12",
    "confidence": 0.9,
    "digits": [
        {"label": label, "confidence": 0.95, "probabilities": [0.1] * 10, "box": BOX}
        for label in (1, 2)
    ],
    "alternatives": [{"text": "72", "confidence": 0.05}],
    "rejected": None,
}


class ReadService:
    """Answers every request with the same number, and keeps the requests."""

    def __init__(self, number: Any = TWELVE) -> None:
        self.answer = {"model": {"name": "digits", "version": "4"}, "numbers": [number]}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json=self.answer)


def client_of(service: Any) -> Client:
    transport = httpx.MockTransport(service)
    return Client("http://digits.test", transport=transport, retries=Retries(attempts=1))


def test_a_number_has_what_the_answer_says() -> None:
    number = client_of(ReadService()).read(b"file")
    assert (number.text, number.confidence, number.rejected) == ("12", 0.9, None)
    assert number.digits[1] == NumberDigit(2, 0.95, (0.1,) * 10, (1, 2, 30, 40))
    assert number.alternatives == (Alternative("72", 0.05),)
    assert number.model == Model("digits", "4")
    assert number.seen is None


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, {}),
        ({"length": 4}, {"min_length": "4", "max_length": "4"}),
        ({"length": (2, None)}, {"min_length": "2"}),
        ({"length": (None, 6), "check": "luhn"}, {"max_length": "6", "check": "luhn"}),
        ({"pattern": "#,##9.99"}, {"pattern": "#,##9.99"}),
        ({"include_seen": True}, {"include": "seen"}),
    ],
)
def test_what_is_known_of_a_number_is_sent(options: Any, query: dict[str, str]) -> None:
    service = ReadService()
    client_of(service).read(b"file", **options)
    (request,) = service.requests
    assert request.url.path == "/read"
    assert dict(request.url.params) == query


def test_what_was_seen_of_a_row() -> None:
    seen = {"image": "data:image/png;base64,QUJD", "inverted": True, "box": BOX}
    number = client_of(ReadService({**TWELVE, "seen": seen})).read(b"file", include_seen=True)
    assert number.seen == SeenRow(b"ABC", inverted=True, box=(1, 2, 30, 40))
    nothing = {"image": None, "inverted": False, "box": None}
    blank = client_of(ReadService({**TWELVE, "seen": nothing})).read(b"file", include_seen=True)
    assert blank.seen == SeenRow(None, inverted=False, box=None)


@pytest.mark.parametrize("number", [None, {}, {**TWELVE, "digits": [{}]}, {**TWELVE, "text": ...}])
def test_another_document_is_no_answer(number: Any) -> None:
    if number and number.get("text") is ...:
        number = {key: value for key, value in number.items() if key != "text"}
    with pytest.raises(UnexpectedAnswer, match="numbers"):
        client_of(ReadService(number)).read(b"file")


def test_too_few_numbers_are_no_answer() -> None:
    service = ReadService()
    service.answer["numbers"] = []
    with pytest.raises(UnexpectedAnswer):
        client_of(service).read(b"file")


def test_a_refusal_is_raised() -> None:
    client = client_of(lambda request: problem(415, "not-an-image", "Image 0: It is no image."))
    with pytest.raises(ImageError):
        client.read(b"file")


def test_asyncio_reads_the_same() -> None:
    async def scene() -> None:
        transport = httpx.MockTransport(ReadService())
        async with AsyncClient("http://digits.test", transport=transport) as client:
            assert (await client.read(b"file", length=2)).text == "12"

    asyncio.run(scene())


@pytest.fixture
def url(shipped: Server) -> str:
    return f"http://127.0.0.1:{shipped.port}"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "1977.png"
    path.write_bytes(png(row("1977")))
    return str(path)


def test_the_command_reads_files(capsys: pytest.CaptureFixture[str], url: str, file: str) -> None:
    status = main(["read", "--url", url, "--json", "--length", "4", file])
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert (record["image"], record["text"]) == (file, "1977")
    assert status == (SOME_NOT_READ if record["rejected"] else ALL_READ)
    assert record.keys() == {
        *("image", "text", "confidence", "digits", "alternatives", "rejected", "model")
    }


def test_the_command_says_what_is_no_image(
    capsys: pytest.CaptureFixture[str], url: str, file: str, tmp_path: Path
) -> None:
    text = tmp_path / "a.txt"
    text.write_text("no image")
    status = main(["read", "--url", url, "--csv", file, str(text), str(tmp_path / "none.png")])
    assert status == SOME_NOT_READ
    first, second, third = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (first["text"], first["error"]) == ("1977", "")
    assert second["text"] == third["text"] == ""
    assert second["error"]
    assert third["error"]


def test_a_table_is_for_people(capsys: pytest.CaptureFixture[str], url: str, file: str) -> None:
    blank = Path(file).with_name("blank.png")
    blank.write_bytes(png(row("")))
    assert main(["read", "--url", url, file, str(blank)]) == SOME_NOT_READ
    out = capsys.readouterr().out
    assert "1977" in out
    assert "blank" in out


@pytest.mark.parametrize("length", ["x", "", "-", "4-x", "0", "33", "6-2", "-1-2"])
def test_a_length_that_is_none(capsys: pytest.CaptureFixture[str], length: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["read", f"--length={length}", str(EXAMPLES / "seven.jpg")])
    assert ended.value.code == USAGE_ERROR
    assert f"{length!r} is no length. Give 4, or 2-6" in capsys.readouterr().err


def test_a_pattern_that_is_none_ends_it(
    capsys: pytest.CaptureFixture[str], url: str, file: str
) -> None:
    assert main(["read", "--url", url, "--pattern", "abc", file]) == USAGE_ERROR
    assert "pattern" in capsys.readouterr().err


def test_the_longest_number_is_the_services() -> None:
    assert arguments.MAX_DIGITS == grammar.MAX_DIGITS
