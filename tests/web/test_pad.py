"""Drawing: what each tool and gesture leaves on the pad, and that the answer follows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from .conftest import SEVEN, draw, opened, settle


def ink(page: Page) -> int:
    """Count the pad's pixels that are not paper."""
    count: int = page.locator("#pad").evaluate(
        """(pad) => {
          const copy = new OffscreenCanvas(pad.width, pad.height);
          const context = copy.getContext("2d", { willReadFrequently: true });
          context.drawImage(pad, 0, 0);
          const pixels = context.getImageData(0, 0, pad.width, pad.height).data;
          let count = 0;
          for (let at = 0; at < pixels.length; at += 4)
            count += pixels[at] !== pixels[0] || pixels[at + 1] !== pixels[1];
          return count;
        }"""
    )
    return count


def test_a_drawn_digit_is_read_and_what_was_seen_is_shown(page: Page) -> None:
    draw(page, SEVEN)
    settle(page, "accepted")
    expect(page.locator("#label")).to_have_text("7")
    expect(page.locator("#headline")).to_have_text("Seven")
    expect(page.locator("#sure")).to_contain_text("%")
    expect(page.locator("#bars .best")).to_contain_text("7")
    expect(page.locator("#seen")).to_be_visible()
    expect(page.locator("#done")).to_contain_text("turned to white on black")
    expect(page.get_by_role("img", name="Drawing pad, with a drawing")).to_be_visible()
    expect(page.get_by_role("status").first).to_contain_text("Seven. Almost certain")


def test_the_box_of_the_ink_lies_over_the_drawing(page: Page) -> None:
    draw(page, SEVEN)
    settle(page, "accepted")
    frame, pad = page.locator("#frame").bounding_box(), page.locator("#pad").bounding_box()
    assert frame is not None
    assert pad is not None
    left = (frame["x"] - pad["x"]) / pad["width"]
    bottom = (frame["y"] + frame["height"] - pad["y"]) / pad["height"]
    assert left == pytest.approx(0.3 - 0.03, abs=0.015)  # half a pen's width to the left
    assert bottom == pytest.approx(0.8 + 0.03, abs=0.015)


def test_the_answer_comes_while_the_pen_is_down(page: Page) -> None:
    draw(page, SEVEN, release=False)
    expect(page.locator("#label")).to_have_text("7")
    expect(page.locator("#answer")).to_have_attribute("data-finished", "false")
    page.mouse.up()
    settle(page, "accepted")


def test_a_drawing_at_night_is_light_on_dark_and_read_as_it_is(
    browser: Browser, address: str
) -> None:
    with opened(browser, address, color_scheme="dark") as page:
        draw(page, SEVEN)
        settle(page, "accepted")
        expect(page.locator("#label")).to_have_text("7")
        expect(page.locator("#done")).to_contain_text("taken as it is")


def test_a_tap_draws_a_dot(page: Page) -> None:
    draw(page, [(0.5, 0.5)])
    assert ink(page) > 100
    expect(page.locator("#answer")).not_to_have_attribute("data-state", "empty")


def test_a_digit_in_dots_is_read(page: Page) -> None:
    page.get_by_title("Thick pen").click()
    for step in range(9):
        draw(page, [(0.5, 0.2 + 0.075 * step)])
    settle(page, "accepted")
    expect(page.locator("#label")).to_have_text("1")


def test_the_pen_has_three_widths(page: Page) -> None:
    drawn = []
    for title in ("Thin pen", "Medium pen", "Thick pen"):
        page.get_by_title(title).click()
        draw(page, SEVEN)
        drawn.append(ink(page))
        page.get_by_role("button", name="Clear").click()
    assert drawn == sorted(set(drawn))


def test_the_eraser_takes_ink_away_and_an_erased_pad_is_empty(page: Page) -> None:
    draw(page, SEVEN)
    before = ink(page)
    eraser = page.get_by_role("button", name="Eraser")
    eraser.click()
    expect(eraser).to_have_attribute("aria-pressed", "true")
    draw(page, [(0.3, 0.25), (0.7, 0.25)])
    assert ink(page) < before
    page.get_by_role("button", name="Clear").click()
    expect(eraser).to_have_attribute("aria-pressed", "false")
    assert ink(page) == 0


def test_undo_and_redo_go_through_strokes_by_button_and_by_key(page: Page) -> None:
    draw(page, SEVEN)
    one = ink(page)
    draw(page, [(0.1, 0.9), (0.9, 0.9)])
    two = ink(page)
    page.get_by_role("button", name="Undo").click()
    assert ink(page) == one
    page.keyboard.press("Control+z")
    assert ink(page) == 0
    expect(page.locator("#answer")).to_have_attribute("data-state", "empty")
    page.keyboard.press("Control+Shift+Z")
    assert ink(page) == one
    settle(page, "accepted")
    page.get_by_role("button", name="Redo").click()
    assert ink(page) == two
    expect(page.get_by_role("button", name="Redo")).to_be_disabled()


@pytest.mark.parametrize("way", ["button", "key"])
def test_clear_forgets_the_answer_and_can_be_undone(page: Page, way: str) -> None:
    draw(page, SEVEN)
    settle(page, "accepted")
    if way == "key":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Clear").click()
    expect(page.locator("#label")).to_have_text("–")
    expect(page.locator("#seen")).to_be_hidden()
    expect(page.locator("#frame")).to_be_hidden()
    expect(page.get_by_role("img", name="Drawing pad, empty")).to_be_visible()
    page.keyboard.press("Control+z")
    settle(page, "accepted")


def test_the_right_button_draws_nothing(page: Page) -> None:
    page.locator("#pad").click(button="right")
    assert ink(page) == 0
    expect(page.locator("#answer")).to_have_attribute("data-state", "empty")


@pytest.fixture
def fingers(browser: Browser, address: str) -> Iterator[tuple[Page, CDPSession]]:
    size = {"width": 390, "height": 844}
    with opened(browser, address, has_touch=True, is_mobile=True, viewport=size) as page:
        yield page, page.context.new_cdp_session(page)


def touch(session: CDPSession, kind: str, *points: tuple[float, float]) -> None:
    touches = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_one_finger_draws_and_a_second_does_nothing(fingers: tuple[Page, CDPSession]) -> None:
    page, session = fingers
    box = page.locator("#pad").bounding_box()
    assert box is not None
    x, y = box["x"] + 100, box["y"] + 100
    touch(session, "touchStart", (x, y))
    touch(session, "touchMove", (x, y + 100))
    alone = ink(page)
    touch(session, "touchStart", (x, y + 100), (x + 150, y))
    touch(session, "touchMove", (x, y + 100), (x + 150, y + 100))
    touch(session, "touchEnd")
    assert alone > 100
    assert ink(page) == pytest.approx(alone, rel=0.05)  # its rim is drawn anew at its end
    assert page.evaluate("scrollY") == 0
