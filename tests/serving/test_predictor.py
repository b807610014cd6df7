from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.api.payload import RawImage
from app.errors import BadPixels, BrokenImage, DeadlineExceeded, ImageError, NotAnImage
from app.inference.loading import Classifier, Thresholds
from app.inference.registry import Versions
from app.serving.batcher import Batcher
from app.serving.predictor import Asked, Reading, Recognizer
from app.settings import Settings
from tests.conftest import Image, no_rows, png, spoken


def speaking(version: str) -> Classifier:
    """The stand-in of conftest.py, without TensorFlow."""

    def compute(images: Image) -> NDArray[np.float32]:
        row = images[:, 0].astype(np.float32)
        weights = row[:, :10] + 1e-6
        return np.column_stack((weights / weights.sum(axis=1, keepdims=True), row[:, 10] / 255))

    return Classifier("digits", version, {}, Thresholds(0.5, 0.5), compute, lone_seconds=0.0001)


@asynccontextmanager
async def recognizer(models: Path, **options: Any) -> AsyncIterator[Recognizer]:
    (models / "1").mkdir(exist_ok=True)
    settings = Settings(models_dir=models, decode_threads=1, **options)
    versions = Versions(models, lambda folder: speaking(folder.name))
    await versions.start()
    batcher = Batcher(threads=1, max_batch=4, max_images=9)
    made = Recognizer(versions, batcher, settings)
    yield made
    assert batcher.reserved == 0
    await batcher.close()
    await made.close()


def read(models: Path, images: Sequence[RawImage], *, as_is: bool, **options: Any) -> list[Reading]:
    async def scene() -> list[Reading]:
        async with recognizer(models, **options) as reader:
            with reader.batcher.reserve(len(images)) as job:
                classifier, readings = await reader.read(Asked(images, as_is), job)
            assert classifier.version == "1"
            return readings

    return asyncio.run(scene())


INLINE = [pytest.param(0, id="in a thread"), pytest.param(10**6, id="inline")]


@pytest.mark.parametrize("inline_image_bytes", INLINE)
@pytest.mark.parametrize("encoded", [False, True], ids=["pixels", "png"])
def test_readings_are_in_the_order_of_the_images(
    tmp_path: Path, encoded: bool, inline_image_bytes: int
) -> None:
    blank = np.zeros((28, 28), np.uint8)
    images = [blank, spoken(3), spoken(1), blank, spoken(4), spoken(1), spoken(5), spoken(9)]
    sent = [png(image) for image in images] if encoded else images
    readings = read(tmp_path, sent, as_is=True, inline_image_bytes=inline_image_bytes)
    assert [reading.label for reading in readings] == [None, 3, 1, None, 4, 1, 5, 9]
    for reading, image in zip(readings, images, strict=True):
        assert (reading.seen.digit == image).all()
        assert reading.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("share", "score", "rejected"),
    [
        (0.9, 1.0, None),
        (0.9, 0.4, "not_a_digit"),
        (0.3, 1.0, "uncertain"),
        (0.3, 0.4, "not_a_digit"),
    ],
)
def test_what_to_think_of_the_answer(
    tmp_path: Path, share: float, score: float, rejected: str | None
) -> None:
    (reading,) = read(tmp_path, [spoken(6, share=share, score=score)], as_is=True)
    assert reading.label == 6
    assert reading.confidence == pytest.approx(share, abs=0.02)
    assert reading.confidence == reading.probabilities[6]
    assert reading.rejected == rejected


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("as_is", [False, True], ids=["normalized", "as it is"])
def test_a_blank_is_not_asked_about(tmp_path: Path, level: int, as_is: bool) -> None:
    (reading,) = read(tmp_path, [np.full((28, 28), level, np.uint8)], as_is=as_is)
    assert reading.label is None
    assert reading.rejected == "blank"
    assert reading.confidence == pytest.approx(0.1)
    assert reading.probabilities.tolist() == pytest.approx([0.1] * 10)


def test_normalizing_says_what_it_did(tmp_path: Path) -> None:
    page = np.full((100, 60), 255, np.uint8)
    cv2.line(page, (30, 20), (30, 79), 0, 5)
    (reading,) = read(tmp_path, [page], as_is=False)
    assert reading.seen.inverted
    assert reading.seen.box is not None
    assert np.abs(np.subtract(reading.seen.box, (28, 20, 33, 80))).max() <= 3


def test_a_box_is_in_the_pixels_of_the_upright_original(tmp_path: Path) -> None:
    page = np.full((2000, 2400), 255, np.uint8)
    cv2.line(page, (1600, 400), (1600, 1599), 0, 100)
    jpeg = cv2.imencode(".jpg", page)[1].tobytes()
    (reading,) = read(tmp_path, [jpeg], as_is=False)
    assert reading.seen.box is not None
    assert np.abs(np.subtract(reading.seen.box, (1550, 350, 1650, 1650))).max() <= 40


GOOD = png(spoken(1))


@pytest.mark.parametrize("inline_image_bytes", INLINE)
@pytest.mark.parametrize(
    ("images", "error", "says"),
    [
        ([GOOD, b"text"], NotAnImage, "Image 1: "),
        ([GOOD, GOOD, GOOD[:60]], BrokenImage, "Image 2: "),
        ([png(np.zeros((28, 29), np.uint8))], BadPixels, "Image 0: .* 29×28"),
        ([spoken(1), np.zeros((1, 1), np.uint8)], BadPixels, "Image 1: .* 1×1"),
    ],
    ids=["no image", "truncated", "shape of a file", "shape of an array"],
)
def test_a_bad_image_is_named(
    tmp_path: Path,
    images: list[RawImage],
    error: type[ImageError],
    says: str,
    inline_image_bytes: int,
) -> None:
    with pytest.raises(error, match=says):
        read(tmp_path, images, as_is=True, inline_image_bytes=inline_image_bytes)


@pytest.mark.parametrize("inline_image_bytes", INLINE)
def test_an_abandoned_job_is_neither_decoded_nor_answered(
    tmp_path: Path, inline_image_bytes: int
) -> None:
    async def scene() -> None:
        async with recognizer(tmp_path, inline_image_bytes=inline_image_bytes) as reader:
            with reader.batcher.reserve(2) as job:
                job.abandon(DeadlineExceeded("too late"))
                with pytest.raises(DeadlineExceeded, match="too late"):
                    await reader.read(Asked([b"would not decode", spoken(1)], True), job)

    asyncio.run(scene())


def test_a_job_abandoned_while_it_is_decoded(tmp_path: Path) -> None:
    async def scene() -> None:
        async with recognizer(tmp_path, inline_image_bytes=0) as reader:
            busy = threading.Event()
            held = asyncio.create_task(reader._pool.run(busy.wait, 1))
            with reader.batcher.reserve(1) as job:
                reading = asyncio.create_task(reader.read(Asked([spoken(1)], True), job))
                await asyncio.sleep(0)
                job.abandon(DeadlineExceeded("too late"))
                busy.set()
                with pytest.raises(DeadlineExceeded):
                    await reading
            await held

    asyncio.run(scene())


def test_of_an_abandoned_job_not_even_mnists_digits_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(
        "app.serving.predictor.digits_among", lambda images: told.append(len(images))
    )

    async def scene() -> None:
        async with recognizer(tmp_path, inline_image_bytes=0) as reader:
            with reader.batcher.reserve(1) as job:
                job.abandon(DeadlineExceeded("too late"))
                with pytest.raises(DeadlineExceeded):
                    await reader.read(Asked([png(spoken(1))], False), job)

    asyncio.run(scene())
    assert told == []


FORM = [GOOD, png(spoken(2)), GOOD]


@pytest.mark.parametrize(
    ("asked", "seconds", "bytes_", "is_little"),
    [
        (Asked(FORM, True), 0.00031, 10**6, True),
        (Asked(FORM, True), 0.00029, 10**6, False),
        (Asked(FORM, True), 1.0, sum(map(len, FORM)), True),
        (Asked(FORM, True), 1.0, sum(map(len, FORM)) - 1, False),
        (Asked([spoken(1)], False), 1.0, 12, True),
        (Asked([spoken(1)], False), 1.0, 11, False),
        (Asked([spoken(1)], True), 1.0, 0, True),
        (Asked([spoken(1)], True), 0.0, 0, False),
    ],
    ids=[
        "soon computed", "too long in the model", "soon decoded", "too long to decode",
        "few numbers", "too many numbers", "nothing to normalize", "never",
    ],
)  # fmt: skip
def test_what_is_little(
    tmp_path: Path, asked: Asked, seconds: float, bytes_: int, is_little: bool
) -> None:
    async def scene() -> None:
        options = {"inline_call_seconds": seconds, "inline_image_bytes": bytes_}
        async with recognizer(tmp_path, **options) as reader:
            assert reader.is_little(asked) == is_little

    asyncio.run(scene())


def test_requests_are_read_together_and_fail_alone(tmp_path: Path) -> None:
    line = np.zeros((60, 40), np.uint8)
    cv2.line(line, (20, 10), (20, 50), 255, 4)
    requests = [
        Asked([png(spoken(3)), np.zeros((28, 28), np.uint8), spoken(1)], True),
        Asked([GOOD, b"text"], True),
        Asked([spoken(4), np.zeros((2, 1), np.uint8)], True),
        Asked([line, png(line)], False),
        Asked([np.zeros((9, 9), np.uint8)], False),
    ]

    async def scene() -> None:
        async with recognizer(tmp_path) as reader:
            classifier, found = reader.read_together(requests)
            assert classifier.version == "1"
            for asked, outcome in zip(requests, found, strict=True):
                with reader.batcher.reserve(len(asked.images)) as job:
                    if isinstance(outcome, Exception):
                        with pytest.raises(type(outcome), match=str(outcome)):
                            await reader.read(asked, job)
                        continue
                    _, alone = await reader.read(asked, job)
                    assert [one.label for one in outcome] == [one.label for one in alone]
                    assert [one.seen.box for one in outcome] == [one.seen.box for one in alone]
            assert [type(outcome).__name__ for outcome in found] == [
                "list", "NotAnImage", "BadPixels", "list", "list"
            ]  # fmt: skip

    asyncio.run(scene())


def test_a_call_that_fails_fails_all_that_were_in_it(tmp_path: Path) -> None:
    def fails(images: Image) -> NDArray[np.float32]:
        raise ValueError

    async def scene() -> None:
        async with recognizer(tmp_path) as reader:
            image = spoken(1)
            reader.versions._live = replace(reader.versions.live, compute=fails)
            _, found = reader.read_together([Asked([image], True), Asked([b""], True)])
            assert [type(outcome).__name__ for outcome in found] == ["ValueError", "ValueError"]

    asyncio.run(scene())


def test_an_answer_that_is_missing_fails_its_asker_alone(tmp_path: Path) -> None:
    async def scene() -> None:
        async with recognizer(tmp_path) as reader:
            blank = np.zeros((28, 28), np.uint8)
            reader.versions._live = replace(reader.versions.live, compute=no_rows)
            _, found = reader.read_together([Asked([spoken(1)], True), Asked([blank], True)])
            assert [type(outcome).__name__ for outcome in found] == ["StopIteration", "list"]

    asyncio.run(scene())


def test_every_answer_is_of_one_version(tmp_path: Path) -> None:
    async def scene() -> None:
        async with recognizer(tmp_path, inline_image_bytes=0) as reader:
            busy = threading.Event()
            held = asyncio.create_task(reader._pool.run(busy.wait, 1))
            with reader.batcher.reserve(1) as job:
                reading = asyncio.create_task(reader.read(Asked([spoken(1)], True), job))
                await asyncio.sleep(0)
                (tmp_path / "2").mkdir()
                await reader.versions.refresh()
                busy.set()
                classifier, _ = await reading
            await held
            assert classifier.version == "1"
            with reader.batcher.reserve(1) as job:
                classifier, _ = await reader.read(Asked([spoken(1)], True), job)
            assert classifier.version == "2"

    asyncio.run(scene())
