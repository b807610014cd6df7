"""The page in a real browser: Chromium, as `chromium` on the PATH. Without it these tests skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.main import create_app
from app.settings import Settings
from tests.conftest import ROOT, in_a_thread

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MODELS = ROOT / "models" / "digits"

Points = list[tuple[float, float]]
SEVEN: Points = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]
STAR: Points = [(0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8), (0.5, 0.1), (0.5, 0.9), (0.1, 0.5)]


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """Serve the shipped model in a thread and yield the address."""
    app = create_app(Settings(models_dir=MODELS, **settings))
    with in_a_thread(uvicorn.Config(app, port=0, log_level="error", ws="none")) as (host, port):
        yield f"http://{host}:{port}"


@contextmanager
def opened(browser: Browser, address: str, **context: Any) -> Iterator[Page]:
    """Open the page in a context of its own; fail if a script or the policy complains."""
    with browser.new_context(**context) as fresh:
        page = fresh.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        yield page
    # Chromium logs every request that is refused or broken; tests do that on purpose.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


@pytest.fixture(scope="package")
def address() -> Iterator[str]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the PATH")
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # A module's, not the session's: while Playwright runs, no other test could run an event loop.
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-sync"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        yield page


def draw(page: Page, points: Points, *, release: bool = True) -> None:
    """Draw a stroke with the mouse; coordinates are shares of the pad's side."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=3)  # each takes a frame
    if release:
        page.mouse.up()


def settle(page: Page, state: str) -> None:
    """Wait until the answer to a finished picture is there, and is of this kind."""
    answer = page.locator(f'#answer[data-state="{state}"][data-finished="true"]')
    expect(answer).to_have_attribute("aria-busy", "false")


def open_file(page: Page, name: str, media_type: str, data: bytes) -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": media_type, "buffer": data})
