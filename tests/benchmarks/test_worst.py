"""Worst requests are legal: they decode to what they promise, within the limits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from PIL import Image

from benchmarks import bodies, worst
from benchmarks.bodies import Body
from benchmarks.worst import WorstCase


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (lambda: worst.png(90, 50, depth=1, color=worst.GRAY), ("PNG", "1", (90, 50))),
        (lambda: worst.png(90, 50, depth=8, color=worst.RGBA), ("PNG", "RGBA", (90, 50))),
        (lambda: worst.webp(90), ("WEBP", "RGB", (90, 90))),
        (lambda: worst.gif(90), ("GIF", "P", (90, 90))),
        (lambda: worst.bmp_rle(900), ("BMP", "1", (900, 900))),
        (lambda: worst.progressive_jpeg(96), ("JPEG", "RGB", (96, 64))),
        (lambda: worst.hairline_page(90), ("PNG", "L", (90, 90))),
        (worst.noise_canvas, ("PNG", "RGBA", (280, 280))),
        (lambda: worst.png_of_chunks(500), ("PNG", "L", (28, 28))),
    ],
    ids=["bilevel", "rgba", "webp", "gif", "bmp", "jpeg", "hairline", "noise", "chunks"],
)
def test_files_decode(file: Callable[[], bytes], expected: tuple[object, ...]) -> None:
    image = Image.open(io.BytesIO(file()))
    assert (image.format, image.mode, image.size) == expected
    image.load()


def test_side_is_the_most_that_is_legal() -> None:
    assert worst.SIDE**2 == 64_000_000
    assert worst.SIDES[0] == worst.SIDE


@pytest.mark.parametrize("make", [worst.floats, worst.one_number_rows, worst.deep_lists])
def test_json_has_the_size_that_was_asked_for(make: Callable[[int], Body]) -> None:
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
    assert worst.form_of_fields(worst.PARTS).data.count(mark) == worst.PARTS
    images = bodies.multipart(*[worst.noise_canvas(worst.FORM_SIDE)] * worst.MAX_IMAGES)
    assert len(images.data) < 32 * 2**20


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in worst.CASES]
    assert len(set(names)) == len(names)


def test_largest_body_that_is_not_refused_is_taken() -> None:
    def status_of(body: Body) -> int:
        return 422 if len(body.data) > 400 else 200

    case = WorstCase("zeros", lambda size: Body(bytes(size)), (900, 400, 100))
    assert len(worst.largest_legal(case, status_of).data) == 400
    assert len(worst.largest_legal(case, lambda body: 413).data) == 100
