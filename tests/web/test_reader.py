"""What the page does where a server, a proxy or the network does not answer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.conftest import EXAMPLES

from .conftest import SEVEN, draw, opened, served, settle

PROBLEM = "application/problem+json"


def refuse_once(page: Page, **response: Any) -> None:
    """Let the next request be answered with `response`, the others by the server."""
    page.route("**/predict?**", lambda route: route.fulfill(**response), times=1)


def refuse(page: Page, **response: Any) -> None:
    page.route("**/predict?**", lambda route: route.fulfill(**response))


@pytest.mark.parametrize("status", [429, 503])
def test_what_is_refused_for_now_is_sent_again_after_a_countdown(page: Page, status: int) -> None:
    page.locator("#pad").scroll_into_view_if_needed()
    refuse(page, status=status, headers={"retry-after": "2"}, json={"title": "Too much is waiting"})
    draw(page, SEVEN)
    expect(page.locator("#answer")).to_have_attribute("data-state", "waiting")
    expect(page.locator("#notice-title")).to_have_text("Too much is waiting")
    expect(page.locator("#notice-detail")).to_contain_text("Trying again in 2 s.")
    page.unroute("**/predict?**")
    expect(page.locator("#notice-detail")).to_contain_text("Trying again in 1 s.")
    settle(page, "accepted")


def test_the_countdown_can_be_cut_short(page: Page) -> None:
    refuse(page, status=503, headers={"retry-after": "500"}, body="")
    draw(page, SEVEN)
    expect(page.locator("#notice-detail")).to_contain_text("Trying again in")
    page.unroute("**/predict?**")
    page.get_by_role("button", name="Try now").click()
    settle(page, "accepted")


def test_clear_ends_the_waiting(page: Page) -> None:
    refuse(page, status=503, headers={"retry-after": "500"}, body="")
    draw(page, SEVEN)
    expect(page.locator("#answer")).to_have_attribute("data-state", "waiting")
    page.keyboard.press("Escape")
    expect(page.locator("#answer")).to_have_attribute("data-state", "empty")
    page.unroute("**/predict?**")
    draw(page, SEVEN)
    settle(page, "accepted")


def test_one_of_several_files_that_is_refused_for_now_is_sent_again(page: Page) -> None:
    refuse_once(page, status=503, headers={"retry-after": "1"}, body="")
    page.locator("#file").set_input_files([EXAMPLES / "seven.jpg", EXAMPLES / "five.png"])
    expect(page.locator("#history .badge")).to_have_text(["5", "7"])


@pytest.mark.parametrize(
    ("status", "content_type", "body", "title"),
    [
        (429, "application/json", '{"message": "API rate limit exceeded"}', "Too many requests"),
        (429, "text/html", "<html><h1>429</h1></html>", "Too many requests"),
        (502, "text/html", "<html>Bad Gateway</html>", "does not answer"),
        (413, "text/html", "<html>Request Entity Too Large</html>", "too large"),
        (500, "application/json", '{"error": {"message": "upstream"}}', "could not read that"),
        (418, "text/plain", "", "could not read that"),
        (200, "text/html", "<html>Sign in to the network</html>", "Something else answered"),
        (200, "application/json", '{"ok": true}', "Something else answered"),
        (200, "application/json", "null", "Something else answered"),
    ],
)
def test_what_others_answer_in_the_servers_place_is_said_in_words(
    page: Page, status: int, content_type: str, body: str, title: str
) -> None:
    refuse(page, status=status, content_type=content_type, body=body)
    draw(page, SEVEN)
    expect(page.locator("#notice-title")).to_contain_text(title)
    expect(page.locator("#notice-detail")).not_to_be_empty()
    for word in ("undefined", "null", "NaN", "[object", "<h"):
        expect(page.locator("#notice")).not_to_contain_text(word)


def test_a_problems_own_words_are_shown(page: Page) -> None:
    said = {"type": "/problems/x", "title": "The image is damaged", "detail": "Image 0: Save it."}
    refuse(page, status=422, content_type=PROBLEM, json=said)
    draw(page, SEVEN)
    settle(page, "failed")
    expect(page.locator("#notice-title")).to_have_text("The image is damaged")
    expect(page.locator("#notice-detail")).to_have_text("Save it.")
    expect(page.locator("#notice")).to_be_visible()
    expect(page.locator("#reading")).to_be_hidden()


def test_a_failure_of_the_server_can_be_tried_again(page: Page) -> None:
    refuse(page, status=504, content_type=PROBLEM, json={"title": "The deadline passed"})
    draw(page, SEVEN)
    settle(page, "failed")
    page.unroute("**/predict?**")
    page.get_by_role("button", name="Try again").click()
    settle(page, "accepted")


def test_no_answer_in_time_is_said_and_can_be_tried_again(browser: Browser, address: str) -> None:
    with opened(browser, "about:blank") as page:
        page.add_init_script(
            "const after = AbortSignal.timeout;"
            "AbortSignal.timeout = () => after.call(AbortSignal, 300);"
        )
        page.goto(address)
        held: list[Route] = []
        page.route("**/predict?**", lambda route: held.append(route))  # noqa: PLW0108 -- marked
        draw(page, SEVEN)
        settle(page, "failed")
        expect(page.locator("#notice-title")).to_have_text("No answer in time")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_offline_is_said_and_the_drawing_is_read_when_the_network_is_back(page: Page) -> None:
    page.context.set_offline(True)
    draw(page, SEVEN)
    expect(page.locator("#notice-title")).to_have_text("You are offline")
    expect(page.locator("#notice-detail")).to_contain_text("kept")
    page.context.set_offline(False)
    settle(page, "accepted")
    expect(page.locator("#label")).to_have_text("7")


def test_a_server_that_is_away_is_tried_again(page: Page) -> None:
    page.route("**/predict?**", lambda route: route.abort("connectionrefused"))
    draw(page, SEVEN)
    expect(page.locator("#notice-title")).to_have_text("The server can't be reached")
    expect(page.locator("#notice-detail")).to_contain_text("Trying again in")
    page.unroute("**/predict?**")
    settle(page, "accepted")


def test_busy_is_shown_until_the_answer_comes(page: Page) -> None:
    held: list[Route] = []
    page.route("**/predict?**", lambda route: held.append(route))  # noqa: PLW0108 -- marked
    draw(page, SEVEN)
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#busy")).to_have_css("opacity", "1")
    expect(page.locator("#frame")).to_be_hidden()


def test_a_key_is_asked_for_where_it_is_needed_and_kept_for_the_tab(
    browser: Browser, tmp_path: Path
) -> None:
    hashes = tmp_path / "keys"
    hashes.write_text(hashlib.sha256(b"sesame").hexdigest())
    with served(api_keys_file=hashes) as address, opened(browser, address) as page:
        expect(page.locator("#door")).to_be_hidden()
        draw(page, SEVEN)
        expect(page.locator("#notice-title")).to_contain_text("key is needed")
        for key, says in (("tiger", "not accepted"), ("sesame", "")):
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Use it").click()
            expect(page.locator("#notice-title")).to_contain_text(says)
        settle(page, "accepted")
        expect(page.locator("#snippet")).to_contain_text("$DIGITS_API_KEY")
        expect(page.locator("#snippet")).not_to_contain_text("sesame")
        page.reload()
        draw(page, SEVEN)
        settle(page, "accepted")


def test_files_that_want_a_key_are_read_once_it_is_given(browser: Browser, tmp_path: Path) -> None:
    hashes = tmp_path / "keys"
    hashes.write_text(hashlib.sha256(b"sesame").hexdigest())
    with served(api_keys_file=hashes) as address, opened(browser, address) as page:
        page.locator("#file").set_input_files([EXAMPLES / "seven.jpg", EXAMPLES / "five.png"])
        page.get_by_label("API key").fill("sesame")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#history .badge")).to_have_text(["5", "7"])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), (" 7 ", 7), ("-1", 0), ("100000", 600), ("", None), ("soon", None)],
)
def test_retry_after_is_read(page: Page, header: str, seconds: float | None) -> None:
    read = page.evaluate(
        """async (header) => {
          const { pauseSeconds } = await import("./web/api.js");
          const seconds = pauseSeconds(header);
          return Number.isNaN(seconds) ? null : seconds;
        }""",
        header,
    )
    assert read == seconds


def test_retry_after_may_be_a_date(page: Page) -> None:
    read = page.evaluate(
        """async () => {
          const { pauseSeconds } = await import("./web/api.js");
          return pauseSeconds(new Date(Date.now() + 90_000).toUTCString());
        }"""
    )
    assert 60 < read <= 90
