"""The page in a real browser. Wants Chromium, as `chromium` on the PATH; skips without."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Page, expect, sync_playwright

from app.main import create_app
from app.settings import Settings
from tests.conftest import EXAMPLES, ROOT, in_a_thread

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MODELS = ROOT / "models" / "digits"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """Where the shipped model is served, by a server in a thread."""
    app: FastAPI = create_app(Settings(models_dir=MODELS, **settings))
    with in_a_thread(uvicorn.Config(app, port=0, log_level="error", ws="none")) as (host, port):
        yield f"http://{host}:{port}"


@contextmanager
def opened_at(address: str) -> Iterator[Page]:
    """The page, opened; whatever the browser complains of fails the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-sync"],
        )
        opened = browser.new_page()
        complaints: list[str] = []
        refused: list[bool] = []
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("response", lambda response: refused.append(response.status >= 400))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(address)
        yield opened
        browser.close()
        # Chromium logs every refused request, too.
        assert len(complaints) == sum(refused), complaints


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    with opened_at(address) as page:
        yield page


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    box = page.locator("#pad").bounding_box()
    assert box is not None
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=10)
    page.mouse.up()


def test_a_drawn_digit_is_read_and_what_was_seen_is_shown(page: Page) -> None:
    draw(page, SEVEN)
    expect(page.locator("#label")).to_have_text("7")
    expect(page.locator("#verdict")).to_contain_text("% sure")
    expect(page.locator("#seen")).to_be_visible()
    expect(page.locator("#bars .best")).to_contain_text("7")
    expect(page.locator("#why")).to_contain_text("white on black")


def test_clear_forgets_the_answer(page: Page) -> None:
    draw(page, SEVEN)
    expect(page.locator("#label")).to_have_text("7")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#label")).to_have_text("–")
    expect(page.locator("#seen")).to_be_hidden()


def test_a_photo_can_be_opened(page: Page) -> None:
    page.locator("#file").set_input_files(EXAMPLES / "seven.jpg")
    expect(page.locator("#label")).to_have_text("7")


def test_what_is_refused_is_said_in_words(page: Page) -> None:
    page.locator("#file").set_input_files(
        {"name": "torn.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n"}
    )
    expect(page.locator("#verdict")).to_contain_text("damaged")


def test_a_key_is_asked_for_where_one_is_wanted_and_kept_for_the_tab(tmp_path: Path) -> None:
    hashes = tmp_path / "keys"
    hashes.write_text(hashlib.sha256(b"sesame").hexdigest())
    with served(api_keys_file=hashes) as address, opened_at(address) as page:
        expect(page.locator("#door")).to_be_hidden()
        draw(page, SEVEN)
        expect(page.locator("#verdict")).to_contain_text("key is needed")
        for key, says in (("tiger", "not accepted"), ("sesame", "% sure")):
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Use it").click()
            expect(page.locator("#verdict")).to_contain_text(says)
        expect(page.locator("#label")).to_have_text("7")
        expect(page.locator("#door")).to_be_hidden()
        page.reload()
        draw(page, SEVEN)
        expect(page.locator("#label")).to_have_text("7")
