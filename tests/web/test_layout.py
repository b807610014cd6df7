"""The layout: what is above the fold, that nothing overflows, and that nothing moves."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import SEVEN, STAR, draw, open_file, opened, settle

SIZES = [(320, 640), (390, 844), (768, 1024), (844, 390), (1024, 600), (1440, 900)]


def bottom(page: Page, selector: str) -> float:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["y"] + box["height"]


@pytest.mark.parametrize(("width", "height"), [(240, 320), *SIZES])
def test_nothing_is_wider_than_the_window(
    browser: Browser, address: str, width: int, height: int
) -> None:
    with opened(browser, address, viewport={"width": width, "height": height}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        draw(page, SEVEN)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.goto(f"{address}/model")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_answer_bars_pad_and_tools_are_above_the_fold(
    browser: Browser, address: str
) -> None:
    with opened(browser, address, viewport={"width": 390, "height": 844}) as page:
        draw(page, SEVEN)
        settle(page, "accepted")
        for selector in ("#glyph", "#bars", "#pad", "#tools", "#sources"):
            assert bottom(page, selector) <= 844, selector


def test_on_a_phones_side_pad_and_answer_are_next_to_each_other(
    browser: Browser, address: str
) -> None:
    with opened(browser, address, viewport={"width": 844, "height": 390}) as page:
        for selector in ("#bars", "#pad"):
            assert bottom(page, selector) <= 390, selector


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_moves_as_answers_change(
    browser: Browser, address: str, width: int, height: int
) -> None:
    with opened(browser, address, viewport={"width": width, "height": height}) as page:

        def places() -> list[float]:
            tops: list[float] = page.evaluate(
                """() => ["#pad", "#tools", "#bars", "#why"].map((selector) =>
                  document.querySelector(selector).getBoundingClientRect().top + scrollY)"""
            )
            return tops

        before = places()
        draw(page, SEVEN, release=False)
        expect(page.locator("#label")).to_have_text("7")
        assert places() == before
        page.mouse.up()
        settle(page, "accepted")
        assert places() == before
        page.keyboard.press("Escape")
        draw(page, STAR)
        settle(page, "rejected")
        assert places() == before
        open_file(page, "notes.txt", "text/plain", b"hello")
        settle(page, "failed")
        assert places() == before


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_number_stays_in_its_tile(
    browser: Browser, address: str, width: int, height: int
) -> None:
    with opened(browser, address, viewport={"width": width, "height": height}) as page:
        draw(page, [(0.1, 0.3), (0.4, 0.3), (0.2, 0.8)])
        draw(page, [(0.75, 0.3), (0.75, 0.8)])
        settle(page, "number")
        tile, label = (page.locator(name).bounding_box() for name in ("#glyph", "#label"))
        assert tile is not None
        assert label is not None
        assert tile["x"] <= label["x"]
        assert label["x"] + label["width"] <= tile["x"] + tile["width"]


def test_text_of_twice_the_size_still_fits(browser: Browser, address: str) -> None:
    with opened(browser, address, viewport={"width": 640, "height": 900}) as page:
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        draw(page, SEVEN)
        settle(page, "accepted")
        assert page.evaluate("document.documentElement.scrollWidth") <= 640
