"""Worst requests are legal: they decode to what they promise, within the limits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from PIL import Image

from benchmarks import bodies, worst
from benchmarks.bodies import Body


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (lambda: worst.png(90, 50, depth=1, color=worst.GRAY), ("PNG", "1", (90, 50))),
        (lambda: worst.png(90, 50, depth=8, color=worst.RGBA), ("PNG", "RGBA", (90, 50))),
        (lambda: worst.webp(90), ("WEBP", "RGB", (90, 90))),
        (lambda: worst.gif(90), ("GIF", "P", (90, 90))),
        (lambda: worst.bmp_rle(900), ("BMP", "1", (900, 900))),
        (worst.noise_canvas, ("PNG", "RGBA", (280, 280))),
        (worst.png_of_chunks, ("PNG", "L", (28, 28))),
    ],
    ids=["bilevel", "rgba", "webp", "gif", "bmp", "noise", "chunks"],
)
def test_files_decode(file: Callable[[], bytes], expected: tuple[object, ...]) -> None:
    image = Image.open(io.BytesIO(file()))
    assert (image.format, image.mode, image.size) == expected
    image.load()


def test_side_is_the_most_that_is_legal() -> None:
    assert worst.SIDE**2 == 64_000_000
    assert worst.PHOTO[0] * worst.PHOTO[1] < 64_000_000


@pytest.mark.parametrize("make", [worst.floats, worst.one_number_rows, worst.deep_lists])
def test_json_has_the_size_that_was_asked_for(make: worst.MakeJson) -> None:
    body = make(200_000)
    assert 150_000 < len(body.data) <= 200_000
    assert json.loads(body.data).keys() <= {"image", "images"}


def test_deep_lists_hold_784_numbers() -> None:
    (image,) = json.loads(worst.deep_lists(1).data)["images"]
    assert len(image) == 784


def test_base64_fills_the_body() -> None:
    body = worst.base64_photo(200_000)
    assert 150_000 < len(body.data) <= 200_000
    assert json.loads(body.data)["image"].startswith("data:image/png;base64,iVBORw0KGgo")


def test_forms_have_their_parts() -> None:
    mark = f"--{bodies.BOUNDARY}\r\n".encode()
    assert worst.form_of_fields().data.count(mark) == worst.PARTS
    images = bodies.multipart(*[worst.noise_canvas(worst.FORM_SIDE)] * worst.MAX_IMAGES)
    assert len(images.data) < 32 * 2**20


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in worst.CASES]
    assert len(set(names)) == len(names)


def test_largest_body_within_the_cap_is_taken() -> None:
    def status_of(body: Body) -> int:
        return 413 if len(body.data) > 2**20 else 200

    found = worst.at_the_cap(worst.one_number_rows, status_of)
    assert 2**19 < len(found.data) <= 2**20
