"""The answer on the screen: rejected is not accepted, and both are said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from .conftest import SEVEN, STAR, draw, opened, served, settle

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhE"
    "UgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def answered(page: Page, **prediction: Any) -> None:
    """Let every request be answered with this prediction."""
    seen = {"image": PNG, "inverted": True, "box": [10, 20, 30, 40], "warnings": []}
    seen |= prediction.pop("seen", {})
    whole = {
        "label": 4,
        "confidence": 0.61,
        "probabilities": [0, 0, 0, 0, 0.61, 0, 0, 0, 0, 0.39],
        "rejected": None,
        "seen": seen,
        **prediction,
    }
    body = {"model": {"name": "digits", "version": "9"}, "predictions": [whole]}
    page.route("**/predict?**", lambda route: route.fulfill(json=body))


def test_a_scribble_is_rejected_and_does_not_look_accepted(page: Page) -> None:
    draw(page, STAR)
    settle(page, "rejected")
    expect(page.locator("#label")).to_have_text("?")
    expect(page.locator("#sure")).to_have_text("Rejected")
    expect(page.locator("#headline")).to_have_text("Not a digit")
    expect(page.locator("#advice")).not_to_be_empty()
    accent = page.evaluate("getComputedStyle(document.querySelector('#glyph')).backgroundColor")
    assert accent == "rgba(0, 0, 0, 0)"


@pytest.mark.parametrize(
    ("rejected", "headline", "advice"),
    [
        ("blank", "Nothing to read", "more light"),
        ("not_a_digit", "Not a digit", "write it plainer"),
        ("several_digits", "More than one digit", "One digit at a time"),
        ("uncertain", "Not sure", "Perhaps a 4 (61%) or a 9 (39%)"),
        ("of_tomorrow", "Not to be used", "of_tomorrow"),
    ],
)
def test_each_rejection_says_why_and_what_to_do(
    page: Page, rejected: str, headline: str, advice: str
) -> None:
    page.route("**/read", lambda route: route.fulfill(status=404, body="{}"))
    answered(page, rejected=rejected)
    draw(page, SEVEN)
    settle(page, "rejected")
    expect(page.locator("#headline")).to_have_text(headline)
    expect(page.locator("#advice")).to_contain_text(advice)


def test_several_digits_are_read_as_a_number(page: Page) -> None:
    draw(page, [(0.1, 0.3), (0.4, 0.3), (0.2, 0.8)])
    draw(page, [(0.75, 0.3), (0.75, 0.8)])
    settle(page, "number")
    expect(page.locator("#label")).to_have_text("71")
    expect(page.locator("#headline")).to_have_text("Number 71")
    expect(page.locator("#parts i")).to_have_count(2)
    expect(page.locator("#frame")).to_be_hidden()
    expect(page.locator("#snippet")).to_contain_text("/read")
    expect(page.locator("#history .badge").first).to_have_text("71")
    page.keyboard.press("Escape")
    expect(page.locator("#parts i")).to_have_count(0)
    expect(page.get_by_role("group", name="Digits of the number")).to_be_hidden()
    page.locator("#history button").first.click()
    expect(page.locator("#headline")).to_have_text("Number 71")


def two_digits(page: Page) -> None:
    draw(page, [(0.1, 0.3), (0.4, 0.3), (0.2, 0.8)])
    draw(page, [(0.75, 0.3), (0.75, 0.8)])
    settle(page, "number")


def test_the_bars_of_a_number_are_those_of_the_digit_that_is_chosen(page: Page) -> None:
    two_digits(page)
    digits = page.get_by_role("group", name="Digits of the number").get_by_role("button")
    expect(digits).to_have_text(["7", "1"])
    for place, (label, other) in enumerate([(7, 1), (1, 7)]):
        digits.nth(place).click()
        expect(digits.nth(place)).to_have_attribute("aria-pressed", "true")
        expect(digits.nth(1 - place)).to_have_attribute("aria-pressed", "false")
        expect(page.locator("#bars .best .name")).to_have_text(str(label))
        expect(page.locator("#bars li").nth(label)).to_contain_text("9")
        expect(page.locator("#bars li").nth(other)).to_have_class("none")
        expect(page.locator("#parts i").nth(place)).to_have_class("chosen")
        expect(page.locator("#parts .chosen")).to_have_count(1)


def test_at_first_it_is_the_least_sure_digit(page: Page) -> None:
    digits = [
        {"label": 1, "confidence": share, "box": [1, 1, 9, 9], "probabilities": [0.0] * 10}
        for share in (0.9, 0.6, 0.8)
    ]
    number = {"text": "111", "confidence": 0.4, "rejected": None, "digits": digits}
    page.route("**/read", lambda route: route.fulfill(json={"numbers": [number]}))
    answered(page, rejected="several_digits")
    draw(page, SEVEN)
    settle(page, "number")
    expect(page.locator("#digits [aria-pressed=true]")).to_have_count(1)
    expect(page.locator("#digits button").nth(1)).to_have_attribute("aria-pressed", "true")


def test_a_correction_of_a_number_is_that_of_a_digit(browser: Browser, tmp_path: Path) -> None:
    with served(feedback_dir=tmp_path) as address, opened(browser, address) as page:
        two_digits(page)
        page.locator("#digits button").nth(1).click()
        group = page.get_by_role("group", name="Wrong? Digit 2 was a …")
        group.get_by_role("button", name="4").click()
        expect(page.locator("#thanks")).to_have_text("Thank you, noted: digit 2 is 4.")
    assert [file.parent.name for file in tmp_path.rglob("*.png")] == ["4"]


def test_a_number_of_another_length_is_typed(browser: Browser, tmp_path: Path) -> None:
    with served(feedback_dir=tmp_path) as address, opened(browser, address) as page:
        two_digits(page)
        whole = page.get_by_label("or the number was")
        whole.fill("7 l")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#thanks")).to_have_text("")  # the browser says what is wanted
        whole.fill("711")
        whole.press("Control+z")  # is the field's own, not the pad's
        whole.fill("711")
        whole.press("Enter")
        expect(page.locator("#thanks")).to_have_text("Thank you, noted: 711.")
        expect(page.locator("#headline")).to_have_text("Number 71")
        page.keyboard.press("Tab")
        page.keyboard.press("Escape")
        expect(whole).to_be_hidden()
    (file,) = tmp_path.rglob("*.png")
    assert (file.parent.name, file.stem.rpartition("-")[2]) == ("rows", "711")


def test_a_number_that_is_rejected_is_not_shown(page: Page) -> None:
    digit = {"label": 1, "confidence": 0.4, "box": [1, 1, 9, 9]}
    number = {"text": "11", "confidence": 0.2, "rejected": "uncertain", "digits": [digit, digit]}
    page.route("**/read", lambda route: route.fulfill(json={"numbers": [number]}))
    answered(page, rejected="several_digits")
    with page.expect_response("**/read"):
        draw(page, SEVEN)
    settle(page, "rejected")
    expect(page.locator("#headline")).to_have_text("More than one digit")


def test_a_number_that_is_rejected_is_corrected_as_a_whole(
    browser: Browser, tmp_path: Path
) -> None:
    with served(feedback_dir=tmp_path) as address, opened(browser, address) as page:
        draw(page, STAR)
        settle(page, "rejected")
        whole = page.get_by_label("or the number was")
        expect(whole).to_be_visible()
        page.keyboard.press("Escape")
        expect(whole).to_be_hidden()
        page.locator("#history button").first.click()
        expect(page.locator("#headline")).to_have_text("Not a digit")
        whole.fill("48")
        whole.press("Enter")
        expect(page.locator("#thanks")).to_have_text("Thank you, noted: 48.")
    (file,) = tmp_path.rglob("*.png")
    assert (file.parent.name, file.stem.rpartition("-")[2]) == ("rows", "48")


def test_a_picture_without_a_row_is_not_corrected_as_a_number(page: Page) -> None:
    page.route("**/read", lambda route: route.fulfill(json={"numbers": [{"rejected": "blank"}]}))
    answered(page, rejected="not_a_digit", id="a1")
    with page.expect_response("**/read"):
        draw(page, SEVEN)
    expect(page.locator("#history li")).to_have_count(1)
    expect(page.get_by_label("or the number was")).to_be_hidden()


def test_warnings_are_said_as_what_to_do(page: Page) -> None:
    answered(page, rejected="uncertain", seen={"warnings": ["low-contrast", "frame-removed"]})
    draw(page, SEVEN)
    expect(page.locator("#advice")).to_contain_text("thicker pen or more light")
    expect(page.locator("#done")).to_contain_text("A frame around it was taken away")


def test_what_is_nearly_certain_is_not_called_certain(page: Page) -> None:
    answered(page, confidence=0.9999999)
    draw(page, SEVEN)
    expect(page.locator("#sure")).to_have_text("Almost certain, 99.99%")


def test_the_newest_drawing_wins(page: Page) -> None:
    held: list[Route] = []
    page.route("**/predict?**", lambda route: held.append(route))  # noqa: PLW0108 -- Playwright marks it
    draw(page, [(0.5, 0.2), (0.5, 0.4)])
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
    page.unroute("**/predict?**")
    draw(page, [(0.5, 0.4), (0.5, 0.8)])
    settle(page, "accepted")
    expect(page.locator("#label")).to_have_text("1")
    assert held  # the request of the first stroke was given up, and the second did not wait for it


def correct(page: Page, label: str) -> None:
    draw(page, SEVEN)
    settle(page, "accepted")
    page.get_by_role("group", name="Wrong? It was a …").get_by_role("button", name=label).click()


@pytest.mark.parametrize(("button", "folder"), [("1", "1"), ("no digit", "none")])
def test_a_correction_is_kept_where_feedback_is_on(
    browser: Browser, tmp_path: Path, button: str, folder: str
) -> None:
    with served(feedback_dir=tmp_path) as address, opened(browser, address) as page:
        correct(page, button)
        expect(page.locator("#thanks")).to_have_text(f"Thank you, noted: {button}.")
    assert len(list((tmp_path / folder).glob("*.png"))) == 1


def test_a_correction_that_does_not_arrive_is_said(page: Page) -> None:
    answered(page, id="a1")
    page.route("**/feedback", lambda route: route.fulfill(status=500, json={"title": "Full"}))
    correct(page, "1")
    expect(page.locator("#thanks")).to_contain_text("Not sent. Full.")


def test_a_server_that_takes_no_corrections_says_how_to_switch_them_on(page: Page) -> None:
    correct(page, "1")
    expect(page.locator("#thanks")).to_contain_text("DIGITS_FEEDBACK_DIR")
