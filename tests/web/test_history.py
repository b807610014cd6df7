"""The last dozen: kept in the tab, a picture once, and each to be looked at again."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .conftest import SEVEN, draw, open_file, settle


def test_a_drawing_is_listed_once_however_many_strokes_it_has(page: Page) -> None:
    draw(page, [(0.5, 0.2), (0.5, 0.5)])
    settle(page, "accepted")
    draw(page, [(0.5, 0.5), (0.5, 0.8)])
    settle(page, "accepted")
    expect(page.locator("#history li")).to_have_count(1)
    page.keyboard.press("Escape")
    draw(page, SEVEN)
    settle(page, "accepted")
    expect(page.locator("#history .badge")).to_have_text(["7", "1"])


def test_only_the_last_dozen_is_kept_and_it_outlives_a_reload(page: Page) -> None:
    titles = ["Photo", "Form box", "White on black", "Letter", "Blank"] * 3
    for count, title in enumerate(titles[:14], 1):
        page.get_by_role("button", name=title, exact=True).click()
        expect(page.locator("#history li")).to_have_count(min(count, 12))
        expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    badges = page.locator("#history .badge").all_text_contents()
    assert badges[:4] == ["?", "5", "4", "7"]
    page.reload()
    expect(page.locator("#history .badge")).to_have_text(badges)


@pytest.mark.parametrize("reloads", [False, True])
def test_an_entry_brings_drawing_and_answer_back(page: Page, reloads: bool) -> None:
    draw(page, SEVEN)
    settle(page, "accepted")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Chalkboard").click()
    expect(page.locator("#label")).to_have_text("3")
    expect(page.locator("#history li")).to_have_count(2)
    if reloads:
        page.reload()
    page.get_by_role("button", name="Drawing: Seven").click()
    expect(page.locator("#label")).to_have_text("7")
    expect(page.locator("#frame")).to_be_visible()
    page.get_by_role("button", name="chalkboard.jpg: Three").click()
    expect(page.locator("#label")).to_have_text("3")
    expect(page.get_by_role("img", name="Drawing pad, showing chalkboard.jpg")).to_be_visible()


def test_a_drawing_that_is_brought_back_can_be_drawn_on(page: Page) -> None:
    draw(page, [(0.5, 0.2), (0.5, 0.8)])
    settle(page, "accepted")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Drawing: One").click()
    draw(page, [(0.3, 0.8), (0.7, 0.8)])
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#history li")).to_have_count(1)


def test_a_refused_file_says_again_why(page: Page) -> None:
    open_file(page, "notes.txt", "text/plain", b"hello")
    settle(page, "failed")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="notes.txt").click()
    expect(page.locator("#notice-title")).to_contain_text("Not an image")
