"""Files: opened, dropped and pasted, and each that can't be read answered with a sentence."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.conftest import EXAMPLES, png

from .conftest import SEVEN, draw, open_file, settle

HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200)


def transfer(page: Page, kind: str, name: str, media_type: str, data: bytes) -> None:
    """Drop or paste a file."""
    page.evaluate(
        """([kind, name, type, data]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          if (name) transfer.items.add(new File([bytes], name, { type }));
          const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
          document.body.dispatchEvent(event);
        }""",
        [kind, name, media_type, base64.b64encode(data).decode()],
    )


def test_a_photo_is_read_and_shown_with_its_box(page: Page) -> None:
    page.locator("#file").set_input_files(EXAMPLES / "seven.jpg")
    settle(page, "accepted")
    expect(page.locator("#label")).to_have_text("7")
    expect(page.locator("#frame")).to_be_visible()
    expect(page.locator("#done")).to_contain_text("of 900 × 1200 pixels")
    expect(page.get_by_role("img", name="Drawing pad, showing seven.jpg")).to_be_visible()


def test_a_picture_that_the_browser_cannot_show_is_read(page: Page) -> None:
    levels = np.full((100, 100), 255, np.uint8)
    cv2.polylines(levels, [np.array([(30, 20), (70, 20), (45, 80)])], False, 0, 8)
    _, tiff = cv2.imencode(".tiff", levels)
    open_file(page, "scan.tiff", "image/tiff", tiff.tobytes())
    settle(page, "accepted")
    expect(page.locator("#label")).to_have_text("7")
    expect(page.locator("#unshown")).to_contain_text("can't show scan.tiff")
    expect(page.locator("#seen")).to_be_visible()
    expect(page.locator("#frame")).to_be_hidden()
    expect(page.locator("#done")).not_to_contain_text("1 × 1")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(page: Page, kind: str) -> None:
    transfer(page, kind, "five.png", "image/png", (EXAMPLES / "five.png").read_bytes())
    settle(page, "accepted")
    expect(page.locator("#label")).to_have_text("5")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_what_is_no_file_is_answered_with_a_sentence(page: Page, kind: str) -> None:
    transfer(page, kind, "", "", b"")
    settle(page, "failed")
    expect(page.locator("#notice-title")).to_contain_text("no ")
    expect(page.locator("#notice-detail")).to_contain_text("file")


def test_the_same_file_opened_again_is_read_again(page: Page) -> None:
    for _ in range(2):
        with page.expect_response("**/predict?**"):
            page.locator("#file").set_input_files(EXAMPLES / "seven.jpg")
        settle(page, "accepted")


def test_several_files_are_read_one_after_the_other(page: Page) -> None:
    names = ("seven.jpg", "three.png", "five.png")
    page.locator("#file").set_input_files([EXAMPLES / name for name in names])
    badges = page.locator("#history .badge")
    expect(badges).to_have_text(["5", "3", "7"])
    expect(page.locator("#label")).to_have_text("5")


def test_of_several_files_each_that_fails_is_named(page: Page) -> None:
    five = (EXAMPLES / "five.png").read_bytes()
    files: list[FilePayload] = [
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"},
        {"name": "five.png", "mimeType": "image/png", "buffer": five},
        {"name": "torn.png", "mimeType": "image/png", "buffer": five[:60]},
    ]
    page.locator("#file").set_input_files(files)
    expect(page.locator("#history .badge")).to_have_text(["!", "5", "!"])
    expect(page.locator("#refused li")).to_have_count(2)
    expect(page.locator("#refused")).to_contain_text("notes.txt: Not an image")
    expect(page.locator("#refused")).to_contain_text("torn.png: The image is damaged")


@pytest.mark.parametrize(
    ("name", "media_type", "data", "says"),
    [
        ("notes.txt", "text/plain", b"hello", "Not an image"),
        ("photo.heic", "image/heic", HEIC, ""),
        ("torn.png", "image/png", b"\x89PNG\r\n\x1a\n", "damaged"),
        ("empty.png", "image/png", b"", ""),
    ],
)
def test_a_file_that_cannot_be_read_is_answered_with_a_sentence(
    page: Page, name: str, media_type: str, data: bytes, says: str
) -> None:
    open_file(page, name, media_type, data)
    assert_refused(page, name, says)


def assert_refused(page: Page, name: str, says: str) -> None:
    settle(page, "failed")
    expect(page.locator("#notice-title")).to_contain_text(says)
    expect(page.locator("#notice-detail")).not_to_be_empty()
    expect(page.locator("#notice")).not_to_contain_text("undefined")
    expect(page.locator("#unshown")).to_contain_text(name)


def test_a_huge_file_is_answered_with_a_sentence(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "huge.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40_000_000))
    page.locator("#file").set_input_files(file)
    assert_refused(page, file.name, "too ")


def test_a_folder_is_answered_with_a_sentence(page: Page) -> None:
    page.evaluate(
        """() => {
          const folder = new File([], "photos");
          folder.slice = () => ({ arrayBuffer: () => Promise.reject(new Error("a folder")) });
          const transfer = { files: [folder] };
          const event = Object.assign(new Event("drop", { bubbles: true, cancelable: true }),
                                      { dataTransfer: transfer });
          document.body.dispatchEvent(event);
        }"""
    )
    settle(page, "failed")
    expect(page.locator("#notice")).to_contain_text("photos is a folder")


def test_a_drawing_after_a_picture_is_a_new_one_and_undo_brings_the_picture_back(
    page: Page,
) -> None:
    open_file(page, "dark.png", "image/png", png(np.zeros((40, 40), np.uint8)))
    settle(page, "rejected")
    draw(page, SEVEN)
    settle(page, "accepted")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    settle(page, "rejected")
    expect(page.get_by_role("img", name="Drawing pad, showing dark.png")).to_be_visible()


def test_a_picture_taken_upright_is_shown_upright(page: Page) -> None:
    wide = np.full((100, 300), 255, np.uint8)
    cv2.line(wide, (150, 20), (150, 80), 0, 8)
    open_file(page, "wide.png", "image/png", png(wide))
    settle(page, "accepted")
    frame, pad = page.locator("#frame").bounding_box(), page.locator("#pad").bounding_box()
    assert frame is not None
    assert pad is not None
    middle = (frame["x"] + frame["width"] / 2 - pad["x"]) / pad["width"]
    assert middle == pytest.approx(0.5, abs=0.02)
    assert frame["height"] / pad["height"] == pytest.approx(68 / 300, abs=0.02)


EXAMPLE_ANSWERS = [
    ("Photo", "7"),
    ("Form box", "4"),
    ("Chalkboard", "3"),
    ("White on black", "5"),
    ("Scan", "2"),
    ("Letter", "?"),
    ("Blank", "–"),
]


@pytest.mark.parametrize(("title", "glyph"), EXAMPLE_ANSWERS)
def test_each_example_is_answered_as_its_title_says(page: Page, title: str, glyph: str) -> None:
    page.get_by_role("button", name=title, exact=True).click()
    settle(page, "accepted" if glyph.isdigit() else "rejected")
    expect(page.locator("#label")).to_have_text(glyph)
