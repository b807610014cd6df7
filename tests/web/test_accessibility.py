"""Accessibility, judged by axe-core in every state, by day and by night, and by name and key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import SEVEN, STAR, draw, open_file, opened, settle

AXE = Path(__file__).parent / "axe-core-4.14.1" / "axe.min.js"


def empty(_page: Page) -> None:
    pass


def accepted(page: Page) -> None:
    draw(page, SEVEN)
    settle(page, "accepted")


def rejected(page: Page) -> None:
    draw(page, STAR)
    settle(page, "rejected")


def failed(page: Page) -> None:
    open_file(page, "notes.txt", "text/plain", b"hello")
    settle(page, "failed")


def key(page: Page) -> None:
    page.route("**/predict?**", lambda route: route.fulfill(status=401, body=""))
    draw(page, SEVEN)
    expect(page.get_by_label("API key")).to_be_visible()


def waiting(page: Page) -> None:
    page.route(
        "**/predict?**",
        lambda route: route.fulfill(status=503, headers={"retry-after": "500"}, body=""),
    )
    draw(page, SEVEN)
    expect(page.get_by_role("button", name="Try now")).to_be_visible()


def busy(page: Page) -> None:
    accepted(page)
    page.route("**/predict?**", lambda _route: None)
    draw(page, STAR)
    expect(page.locator("#busy")).to_have_css("opacity", "1")


def corrected(page: Page) -> None:
    accepted(page)
    page.get_by_role("button", name="no digit").click()
    expect(page.locator("#thanks")).to_contain_text("feedback")


def number(page: Page) -> None:
    draw(page, [(0.1, 0.3), (0.4, 0.3), (0.2, 0.8)])
    draw(page, [(0.75, 0.3), (0.75, 0.8)])
    settle(page, "number")


STATES = (empty, accepted, rejected, number, failed, key, waiting, busy, corrected)


Scheme = Literal["light", "dark"]


@pytest.fixture(params=[(390, "dark"), (1440, "light")], ids=["narrow and dark", "wide and light"])
def themed(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    width: int
    scheme: Scheme
    width, scheme = request.param
    size = {"width": width, "height": 844}
    with opened(browser, address, color_scheme=scheme, viewport=size) as page:
        yield page


def violations(page: Page) -> list[tuple[str, list[str]]]:
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_nothing(themed: Page, state: Callable[[Page], None]) -> None:
    state(themed)
    assert violations(themed) == []


@pytest.mark.parametrize("path", ["model", "problems/not-an-image"])
def test_axe_finds_nothing_on_pages_to_read(themed: Page, address: str, path: str) -> None:
    themed.goto(f"{address}/{path}")
    assert violations(themed) == []
    width = themed.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0


def test_pad_and_answer_have_roles_and_names(page: Page) -> None:
    expect(page.get_by_role("img", name="Drawing pad, empty")).to_be_visible()
    expect(page.get_by_role("region", name="Answer")).to_be_visible()
    bars = page.get_by_role("list", name="Probability of each digit")
    expect(bars.get_by_role("listitem")).to_have_count(10)
    accepted(page)
    expect(bars.get_by_role("listitem").nth(7)).to_have_text("7>99%")
    expect(page.get_by_role("region", name="Answer").get_by_role("status").first).to_contain_text(
        "Seven"
    )


def test_every_control_is_reached_by_tab_and_shows_it(page: Page) -> None:
    accepted(page)
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
              const at = document.activeElement;
              if (at === document.body) return null;
              const shown = at.closest("label") ?? at;
              const name = at.id || at.value || at.textContent.trim();
              return [name, getComputedStyle(shown).outlineStyle];
            }"""
        )
        if focused is None:  # past the last one
            break
        name, outline = focused
        reached.add(name)
        assert outline != "none", name
    assert {
        "eraser",
        "undo",
        "clear",
        "file",
        "4",
        "no digit",
        "Photo",
        "Blank",
        "tab-0",
    } <= reached
    assert {"copy", "save", "snippet", "API", "Metrics"} <= reached


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_every_target_is_at_least_44_pixels(browser: Browser, address: str, width: int) -> None:
    size = {"width": width, "height": 844}
    with opened(browser, address, viewport=size, has_touch=True) as page:
        accepted(page)
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, a, label.tool, label.button")]
              .map((one) => [one.id || one.textContent.trim(), one.getBoundingClientRect()])
              .filter(([, box]) => box.width && (box.width < 43.99 || box.height < 43.99))
              .map(([name]) => name)"""
        )
        assert small == []


def test_motion_is_left_out_where_it_is_not_wanted(browser: Browser, address: str) -> None:
    with opened(browser, address, reduced_motion="reduce") as page:
        busy(page)
        assert page.evaluate("getComputedStyle(busy).animationName") == "none"


def test_forced_colours_leave_bars_and_answer_to_be_seen(browser: Browser, address: str) -> None:
    with opened(browser, address, forced_colors="active", color_scheme="dark") as page:
        accepted(page)
        expect(page.locator("#label")).to_have_text("7")
        colours = page.evaluate(
            """() => [".best .bar", ".best .track"].map((selector) =>
              getComputedStyle(document.querySelector(selector)).backgroundColor)"""
        )
        assert colours[0] != colours[1]
