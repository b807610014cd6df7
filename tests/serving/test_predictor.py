from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from structlog.testing import capture_logs

from app.errors import (
    BadPixels,
    BrokenImage,
    ClientGone,
    DeadlineExceeded,
    DigitsError,
    ImageError,
    ImageTooLarge,
    ModelError,
    NotAnImage,
    NotReady,
)
from app.inference.classifier import Classifier, Rejection, Thresholds
from app.inference.registry import ModelRegistry
from app.serving.limits import Admission, Lease
from app.serving.predictions import Predictions
from app.serving.predictor import (
    IMAGE_COST,
    PART_COST,
    Predictor,
    PredictRequest,
    RawImage,
    StepSeconds,
)
from app.vision.decode import ImageHeader, Picture, decode, probe
from app.vision.normalize import normalize
from tests.conftest import Image, png, spoken

MAX_PIXELS = 1_000_000


def compute(images: Image) -> NDArray[np.float32]:
    """The stand-in of conftest.py, without TensorFlow; what is written has its part, too."""
    row = images[:, 0].astype(np.float32)
    weights = row[:, :10] + images[:, 4:24:2].mean(axis=2, dtype=np.float32) / 1000 + 1e-6
    return np.column_stack((weights / weights.sum(axis=1, keepdims=True), row[:, 10] / 255))


def classifier(
    version: str = "1", run: Callable[[Image], NDArray[np.float32]] = compute
) -> Classifier:
    return Classifier("digits", version, {}, Thresholds(0.5, 0.5), run)


def registry_of(live: Classifier | None) -> ModelRegistry:
    registry = ModelRegistry(Path("nowhere"), lambda folder: classifier())
    registry._live = live
    return registry


def serving(live: Classifier | None, **options: object) -> Predictor:
    return Predictor(registry_of(live), max_pixels=MAX_PIXELS, **options)  # type: ignore[arg-type]


def open_lease(deadline: float = math.inf) -> Lease:
    return Lease(Admission(max_waiting_images=1, body_bytes=1, working_bytes=1), deadline)


def one(outcome: Predictions | Exception) -> Predictions:
    assert isinstance(outcome, Predictions), outcome
    return outcome


def predict(
    images: Sequence[RawImage], *, normalize: bool = True, predictor: Predictor | None = None
) -> Predictions:
    """The predictions for a request of its own; raises what it fails with."""
    predictor = predictor or serving(classifier())
    (outcome,) = predictor.predict([predictor.prepare(images, open_lease(), normalize=normalize)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def jpeg(image: Image, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@cache
def page(height: int, width: int) -> Image:
    """A stroke, dark on light."""
    image = np.full((height, width), 255, np.uint8)
    start, end = (width // 2, height // 5), (width // 2, height * 4 // 5)
    cv2.line(image, start, end, 0, max(1, width // 12))
    return image


def with_broken_pixels(file: bytes) -> bytes:
    """A PNG whose header is right, and whose pixels are not."""
    at = file.index(b"IDAT") + 8
    return file[:at] + bytes([file[at] ^ 0xFF]) + file[at + 1 :]


BLANK = np.zeros((28, 28), np.uint8)
GOOD = png(spoken(1))
BROKEN = with_broken_pixels(png(page(40, 30)))


# What is answered


@pytest.mark.parametrize("encoded", [False, True], ids=["pixels", "png"])
def test_predictions_are_in_the_order_of_the_images(encoded: bool) -> None:
    images = [BLANK, spoken(3), spoken(1), BLANK, spoken(4), spoken(1), spoken(5), spoken(9)]
    sent = [png(image) for image in images] if encoded else images
    predictions = predict(sent, normalize=False)
    assert [prediction.label for prediction in predictions] == [None, 3, 1, None, 4, 1, 5, 9]
    for prediction, image in zip(predictions, images, strict=True):
        assert (prediction.normalized.digit == image).all()
        assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("share", "score", "rejected"),
    [
        (0.9, 1.0, None),
        (0.9, 0.4, Rejection.NOT_A_DIGIT),
        (0.3, 1.0, Rejection.UNCERTAIN),
        (0.3, 0.4, Rejection.NOT_A_DIGIT),
    ],
)
def test_what_is_rejected(share: float, score: float, rejected: Rejection | None) -> None:
    (prediction,) = predict([spoken(6, share=share, score=score)], normalize=False)
    assert prediction.label == 6
    assert prediction.confidence == pytest.approx(share, abs=0.02)
    assert prediction.confidence == prediction.probabilities[6]
    assert prediction.rejected is rejected


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_model_is_not_asked_about_a_blank(level: int, normalize: bool) -> None:
    def no_call(images: Image) -> NDArray[np.float32]:
        raise AssertionError

    predictor = serving(classifier(run=no_call))
    blank = np.full((28, 28), level, np.uint8)
    (prediction,) = predict([blank], normalize=normalize, predictor=predictor)
    assert prediction.label is None
    assert prediction.rejected is Rejection.BLANK
    assert prediction.confidence == pytest.approx(0.1)
    assert prediction.probabilities.tolist() == pytest.approx([0.1] * 10)


def test_what_normalizing_has_found() -> None:
    image = page(100, 60)
    (prediction,) = predict([image])
    expected = normalize(image)
    assert (prediction.normalized.digit == expected.digit).all()
    assert prediction.normalized[1:] == expected[1:]
    assert prediction.normalized.inverted


def test_a_box_is_in_the_pixels_of_the_upright_original() -> None:
    image = np.full((900, 1000), 255, np.uint8)
    cv2.line(image, (600, 200), (600, 699), 0, 50)
    (prediction,) = predict([jpeg(image)])
    assert prediction.normalized.box is not None
    assert np.abs(np.subtract(prediction.normalized.box, (575, 175, 625, 725))).max() <= 20


@pytest.mark.parametrize("file", [png(page(28, 29)), jpeg(page(28, 29)), page(28, 29)], ids=type)
def test_as_it_is_an_image_is_28_by_28(file: RawImage) -> None:
    with pytest.raises(BadPixels, match=r"Image 1: .*28×28, not 29×28"):
        predict([spoken(1), file], normalize=False)


# What it costs


def test_nothing_is_decoded_before_it_is_charged() -> None:
    file, array = png(page(300, 200)), page(100, 80)
    request = serving(None).prepare([file, array, BROKEN], open_lease())
    declared = [probe(file), None, probe(BROKEN)]
    assert request.headers == declared
    costs = [probe(file).cost, array.size, probe(BROKEN).cost]
    assert request.cost == sum(costs) + 3 * IMAGE_COST
    assert request.working_bytes == probe(file).decoded_bytes


def test_as_it_is_an_array_costs_nothing_but_its_part_of_the_batch() -> None:
    request = serving(None).prepare([BLANK] * 3, open_lease(), normalize=False)
    assert request.cost == 3 * IMAGE_COST


def test_predictions_are_rows_and_columns() -> None:
    images = np.stack([spoken(3), BLANK, spoken(9, share=0.3)])
    predictor = serving(classifier())
    [outcome] = predictor.predict([predictor.prepare(images, open_lease(), normalize=False)])
    predictions = one(outcome)
    rows = [*predictions]
    assert [row.label for row in rows[1:]] == [row.label for row in predictions[1:]]
    assert predictions.labels == [row.label for row in rows] == [3, None, 9]
    assert predictions.rejected == [row.rejected for row in rows]
    assert predictions.confidences.tolist() == [float(row.confidence) for row in rows]
    assert [float(row.probabilities.max()) for row in rows] == predictions.confidences.tolist()
    assert [row.normalized.box is None for row in rows] == [False, True, False]


@pytest.mark.parametrize("normalize", [False, True])
def test_an_array_of_images_is_read_as_a_list_of_them(normalize: bool) -> None:
    images = np.stack([BLANK, spoken(3), spoken(9), np.full((28, 28), 7, np.uint8)])
    predictor = serving(classifier())
    requests = [
        predictor.prepare(each, open_lease(), normalize=normalize) for each in (images, [*images])
    ]
    assert requests[0].cost == requests[1].cost
    assert requests[0].working_bytes == requests[1].working_bytes
    as_array, as_list = predictor.predict(requests)
    assert isinstance(as_array, Predictions)
    assert isinstance(as_list, Predictions)
    for one, other in zip(as_array, as_list, strict=True):
        assert (one.label, one.rejected) == (other.label, other.rejected)
        assert np.array_equal(one.probabilities, other.probabilities)
        assert one.normalized.digit.base is not images  # kept without the others


@pytest.mark.parametrize("encoded", [False, True])
def test_an_image_has_no_more_pixels_than_are_allowed(encoded: bool) -> None:
    image = np.zeros((1000, 1000), np.uint8)
    larger = np.zeros((1001, 1000), np.uint8)
    sent: list[RawImage] = [png(image), png(larger)] if encoded else [image, larger]
    serving(None).prepare(sent[:1], open_lease())
    with pytest.raises(ImageTooLarge, match="Image 1: 1000 × 1001 pixels") as refused:
        serving(None).prepare(sent, open_lease())
    assert refused.value.index == 1


# What goes wrong


@pytest.mark.parametrize(
    ("images", "error", "index"),
    [
        ([GOOD, b"text"], NotAnImage, 1),
        ([GOOD, GOOD, GOOD[:20]], BrokenImage, 2),
        ([GOOD, BROKEN, GOOD], BrokenImage, 1),
        ([BROKEN, b""], NotAnImage, 1),
        ([BLANK, jpeg(page(40, 30))[:-200]], BrokenImage, 1),
    ],
    ids=["no image", "no header", "broken pixels", "header before pixels", "truncated"],
)
def test_an_image_that_fails_is_named(
    images: list[RawImage], error: type[ImageError], index: int
) -> None:
    with pytest.raises(error, match=f"Image {index}: ") as failed:
        predict(images)
    assert failed.value.index == index


def test_a_broken_image_costs_its_own_request_only() -> None:
    predictor = serving(classifier())
    batch: list[list[RawImage]] = [[spoken(3), GOOD], [GOOD, BROKEN, GOOD], [BLANK], [spoken(4)]]
    requests = [predictor.prepare(images, open_lease(), normalize=True) for images in batch]
    outcomes = predictor.predict(requests)
    assert [type(outcome) for outcome in outcomes] == [
        Predictions, BrokenImage, Predictions, Predictions
    ]  # fmt: skip
    assert [len(one(outcomes[index])) for index in (0, 2, 3)] == [2, 1, 1]
    assert str(outcomes[1]).startswith("Image 1: ")


def decoding(monkeypatch: pytest.MonkeyPatch, after_first: Callable[[], object]) -> list[bytes]:
    """The files that are decoded; after the first one, something happens."""
    decoded: list[bytes] = []

    def decode_and_note(data: bytes, header: ImageHeader) -> Picture:
        picture = decode(data, header)
        if not decoded:
            after_first()
        decoded.append(data)
        return picture

    monkeypatch.setattr("app.serving.predictor.decode", decode_and_note)
    return decoded


def test_a_deadline_that_passes_between_images(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = open_lease(time.monotonic() + 60)

    def pass_deadline() -> None:
        lease.deadline = time.monotonic() - 1

    decoded = decoding(monkeypatch, pass_deadline)
    predictor = serving(classifier())
    outcomes = predictor.predict(
        [predictor.prepare([GOOD] * 3, lease), predictor.prepare([GOOD] * 2, open_lease())]
    )
    assert isinstance(outcomes[0], DeadlineExceeded)
    assert len(one(outcomes[1])) == 2
    assert len(decoded) == 1 + 2


def test_a_client_that_goes_between_images(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = open_lease()
    decoded = decoding(monkeypatch, lambda: lease.revoke(ClientGone()))
    predictor = serving(classifier())
    outcomes = predictor.predict(
        [predictor.prepare([GOOD, spoken(1)], lease), predictor.prepare([GOOD], open_lease())]
    )
    assert isinstance(outcomes[0], ClientGone)
    assert len(one(outcomes[1])) == 1
    assert len(decoded) == 1 + 1


@pytest.mark.parametrize("image", [GOOD, spoken(1)], ids=["png", "pixels"])
def test_what_nobody_waits_for_is_not_read(image: RawImage) -> None:
    lease = open_lease(time.monotonic() - 1)
    sizes: list[int] = []
    predictor = serving(classifier(), on_batch=lambda images, seconds: sizes.append(images))
    (outcome,) = predictor.predict([predictor.prepare([image], lease)])
    assert isinstance(outcome, DeadlineExceeded)
    assert sizes == [0]


def test_when_the_model_fails_all_fail_with_it_but_what_failed_before() -> None:
    def fail(images: Image) -> NDArray[np.float32]:
        raise ValueError("secret")

    sizes: list[int] = []
    predictor = serving(
        classifier("7", fail), on_batch=lambda images, seconds: sizes.append(images)
    )
    gone = open_lease()
    gone.revoke(ClientGone())
    requests = [
        predictor.prepare(images, lease)
        for images, lease in (
            ([spoken(1)], open_lease()),
            ([GOOD, BROKEN], open_lease()),
            ([spoken(2)] * 2, open_lease()),
            ([spoken(2)], gone),
        )
    ]
    with capture_logs() as lines:
        outcomes = predictor.predict(requests)
    assert [type(outcome) for outcome in outcomes] == [
        ModelError, BrokenImage, ModelError, ClientGone
    ]  # fmt: skip
    assert "secret" not in str(outcomes[0])
    assert outcomes[0] is not outcomes[2]
    (line,) = lines
    assert (line["event"], line["log_level"], line["version"]) == ("the model failed", "error", "7")
    assert line["exc_info"] is True
    assert sizes == []


@pytest.mark.parametrize(
    "scores",
    [
        np.full((2, 11), np.nan, np.float32),
        np.zeros((1, 11), np.float32),
        np.zeros((3, 11), np.float32),
    ],
    ids=["not finite", "too few", "too many"],
)
def test_scores_that_can_not_be_those_of_the_images(scores: NDArray[np.float32]) -> None:
    predictor = serving(classifier(run=lambda images: scores))
    requests = [predictor.prepare([spoken(1)], open_lease(), normalize=False) for _ in range(2)]
    with capture_logs() as lines:
        outcomes = predictor.predict(requests)
    assert [type(outcome) for outcome in outcomes] == [ModelError, ModelError]
    (line,) = lines
    assert line["reason"].endswith((" finite.", " images of 2."))
    assert line["exc_info"] is False


def test_without_a_model_it_is_not_ready() -> None:
    with pytest.raises(NotReady):
        serving(None).predict([])


def test_a_filled_shape_is_no_digit_whatever_the_model_says() -> None:
    def sure(images: Image) -> NDArray[np.float32]:
        scores = np.zeros((len(images), 11), np.float32)
        scores[:, [1, 10]] = 1
        return scores

    disc = np.full((280, 280), 255, np.uint8)
    cv2.circle(disc, (140, 140), 17, 0, -1, cv2.LINE_AA)
    predictor = serving(classifier(run=sure))
    filled, stroke = predict([disc, page(280, 280)], predictor=predictor)
    assert (filled.rejected, stroke.rejected) == (Rejection.NOT_A_DIGIT, None)


# Together


def tree(outcome: Predictions | Exception) -> object:
    """What there is to an outcome, to compare."""
    if isinstance(outcome, Exception):
        return type(outcome), str(outcome)
    return [
        (
            found.label,
            float(found.confidence),
            found.probabilities.tolist(),
            found.rejected,
            found.normalized.digit.tolist(),
            found.normalized._replace(apart=(), with_lines=None)[1:],
            [(part.digit.tolist(), part.box) for part in found.normalized.apart],
        )
        for found in outcome
    ]


ROOM = np.random.default_rng(5).integers(0, 256, (400, 500), np.uint8)
IMAGES: list[RawImage] = [
    spoken(3),
    spoken(8, share=0.3),
    page(28, 28),
    BLANK,
    page(50, 40),
    np.full((1, 1), 9, np.uint8),
    page(700, 900),
    GOOD,
    png(spoken(5)),
    png(page(28, 28)),
    png(BLANK),
    png(page(60, 50)),
    png(page(500, 600)),
    png(np.stack([page(40, 40)] * 3, axis=2)),
    png(ROOM),
    jpeg(page(28, 28)),
    jpeg(page(80, 60)),
    jpeg(page(900, 1000)),
    BROKEN,
    with_broken_pixels(GOOD),
    with_broken_pixels(png(page(500, 600))),
    jpeg(page(80, 60))[:-150],
    GOOD[:20],
    b"text",
]
LEASES: list[Callable[[], Lease]] = [
    open_lease,
    open_lease,
    open_lease,
    lambda: open_lease(0.0),
]
Asked = tuple[list[RawImage], bool, Callable[[], Lease]]
REQUESTS = st.tuples(
    st.lists(st.sampled_from(IMAGES), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from(LEASES),
)


def prepared(predictor: Predictor, asked: Asked) -> PredictRequest | ImageError:
    images, normalized, lease = asked
    try:
        return predictor.prepare(images, lease(), normalize=normalized)
    except ImageError as error:
        return error


@given(batch=st.lists(REQUESTS, max_size=6))
@hypothesis_settings(max_examples=50)
def test_requests_are_read_together_as_each_is_alone(batch: list[Asked]) -> None:
    predictor = serving(classifier())
    alone = [prepared(predictor, asked) for asked in batch]
    together = [prepared(predictor, asked) for asked in batch]
    expected = [
        tree(predictor.predict([request])[0])
        for request in alone
        if isinstance(request, PredictRequest)
    ]
    outcomes = predictor.predict(
        [request for request in together if isinstance(request, PredictRequest)]
    )
    assert [tree(outcome) for outcome in outcomes] == expected


def test_which_image_is_named_does_not_depend_on_the_other_requests() -> None:
    """The first of the images that fails, be it by its shape or its pixels."""
    predictor = serving(classifier())
    images = [png(page(28, 29)), with_broken_pixels(GOOD)]
    large = predictor.prepare([page(500, 500)], open_lease())
    small = predictor.prepare(images, open_lease(), normalize=False)
    assert large.cost < PART_COST < large.cost + small.cost
    for batch in ([small], [large, small], [small, large]):
        request = batch.index(small)
        outcome = predictor.predict(batch)[request]
        assert isinstance(outcome, BadPixels)
        assert "Image 0" in str(outcome)


def test_what_was_read_of_a_request_that_fails_later_is_not_classified() -> None:
    sizes: list[int] = []
    predictor = serving(classifier(), on_batch=lambda images, seconds: sizes.append(images))
    fails = predictor.prepare([page(500, 500), page(500, 500), BROKEN], open_lease())
    assert fails.cost > PART_COST  # its first image is normalized before its last is decoded
    good = predictor.prepare([spoken(3), spoken(4)], open_lease(), normalize=False)
    failure, predictions = predictor.predict([fails, good])
    assert isinstance(failure, BrokenImage)
    assert [prediction.label for prediction in one(predictions)] == [3, 4]
    assert sizes == [2]


def test_several_threads_may_predict_at_once() -> None:
    predictor = serving(classifier())
    meeting = threading.Barrier(4)

    def run(label: int) -> list[int | None]:
        meeting.wait(60)
        predictions = predict([spoken(label)] * 20, normalize=False, predictor=predictor)
        return [prediction.label for prediction in predictions]

    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(run, range(4))] == [[label] * 20 for label in range(4)]


def test_every_answer_of_a_batch_is_of_the_version_that_was_live_when_it_began() -> None:
    registry, newer = registry_of(None), classifier("2")
    predictor = Predictor(registry, max_pixels=MAX_PIXELS)

    def swap(images: Image) -> NDArray[np.float32]:
        registry._live = newer
        return compute(images)

    older = classifier("1", swap)
    registry._live = older
    requests = [predictor.prepare([spoken(1)], open_lease(), normalize=False) for _ in range(2)]
    for expected in (older, newer):
        for outcome in predictor.predict(requests):
            assert isinstance(outcome, Predictions)
            assert outcome.classifier is expected


def test_thresholds_are_those_of_the_version() -> None:
    strict = replace(classifier(), thresholds=Thresholds(0.5, 0.95))
    (prediction,) = predict([spoken(6)], normalize=False, predictor=serving(strict))
    assert prediction.rejected is Rejection.UNCERTAIN


def test_each_batch_is_told_once() -> None:
    told: list[tuple[int, StepSeconds]] = []
    predictor = serving(
        classifier(), on_batch=lambda images, seconds: told.append((images, seconds))
    )
    batch: list[list[RawImage]] = [[GOOD, BLANK], [GOOD], [BROKEN]]
    predictor.predict([predictor.prepare(images, open_lease()) for images in batch])
    ((images, seconds),) = told
    assert images == 2
    assert len(seconds.queue) == 3
    assert min(*seconds.queue, *seconds[1:]) >= 0


def test_a_failure_of_another_kind_is_its_requests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(gray: Image) -> object:
        if gray.shape == (60, 50):
            raise MemoryError
        return normalize(gray)

    monkeypatch.setattr("app.serving.predictor.normalize", fail)
    predictor = serving(classifier())
    outcomes = predictor.predict(
        [predictor.prepare([image], open_lease()) for image in (page(60, 50), page(50, 40))]
    )
    assert isinstance(outcomes[0], MemoryError)
    assert len(one(outcomes[1])) == 1


def test_an_error_that_is_named_says_so_once() -> None:
    predictor = serving(classifier())
    request = predictor.prepare([GOOD, BROKEN], open_lease())
    first, again = (predictor.predict([request])[0] for _ in range(2))
    assert isinstance(first, DigitsError)
    assert str(first) == str(again)
    assert str(first).count("Image 1") == 1


def test_requests_for_other_versions_are_answered_by_these() -> None:
    predictor = serving(classifier("4"))
    old, new = classifier("1"), classifier("5")
    asked = [None, old, new, None, old]
    requests = [
        predictor.prepare([spoken(label)], open_lease(), normalize=False, classifier=version)
        for label, version in enumerate(asked)
    ]
    outcomes = predictor.predict(requests)
    assert [one(outcome)[0].label for outcome in outcomes] == [0, 1, 2, 3, 4]
    versions = [out.classifier.version for out in outcomes if isinstance(out, Predictions)]
    assert versions == ["4", "1", "5", "4", "1"]


def test_a_version_that_fails_fails_its_own_requests() -> None:
    def fail(images: Image) -> NDArray[np.float32]:
        raise ModelError("out of order")

    predictor = serving(classifier("4"))
    old = classifier("1", fail)
    requests = [
        predictor.prepare([spoken(7)], open_lease(), normalize=False, classifier=version)
        for version in (old, None)
    ]
    with capture_logs() as lines:
        failed, answered = predictor.predict(requests)
    assert isinstance(failed, ModelError)
    assert one(answered)[0].label == 7
    assert [line["version"] for line in lines] == ["1"]
