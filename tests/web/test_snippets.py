"""The request to copy: each language's, run as it is, gives the answer that the page shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import EXAMPLES

from .conftest import SEVEN, draw, opened, settle

RUN = {
    "curl": ["bash", "-c"],
    "Python": [sys.executable, "-c"],
    "JavaScript": ["node", "--input-type=module", "-e"],
}


def copied(page: Page, language: str) -> str:
    page.get_by_role("tab", name=language).click()
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_contain_text("Copied")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def run(language: str, text: str, folder: Path) -> str:
    program = RUN[language][0]
    if shutil.which(program) is None or (language == "curl" and shutil.which("curl") is None):
        pytest.skip(f"there is no {program} on the PATH")
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [*RUN[language], text],
        cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.replace(" ", "").replace('"', "").replace("'", "")


@pytest.mark.parametrize("language", RUN)
def test_a_drawing_is_in_the_request(
    browser: Browser, address: str, language: str, tmp_path: Path
) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, address, permissions=permissions) as page:
        draw(page, SEVEN)
        settle(page, "accepted")
        text = copied(page, language)
    assert "label:7" in run(language, text, tmp_path)


@pytest.mark.parametrize("language", RUN)
def test_a_file_is_named_in_the_request(
    browser: Browser, address: str, language: str, tmp_path: Path
) -> None:
    name = 'it\'s my "seven"; 1.jpg'
    shutil.copy(EXAMPLES / "seven.jpg", tmp_path / name)
    with opened(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.locator("#file").set_input_files(tmp_path / name)
        settle(page, "accepted")
        text = copied(page, language)
    assert "label:7" in run(language, text, tmp_path)


def test_the_tabs_are_reached_by_arrow_keys(page: Page) -> None:
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Python")).to_contain_text("import json")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tabpanel", name="JavaScript")).to_contain_text("await fetch")


def test_a_drawing_can_be_saved(page: Page) -> None:
    draw(page, SEVEN)
    settle(page, "accepted")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the picture").click()
    assert download.value.suggested_filename == "drawing.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_the_address_is_that_of_the_page_behind_a_mount_path(page: Page, address: str) -> None:
    def pass_on(route):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        route.continue_(url=route.request.url.replace("/tools/digits/", "/"))

    page.route("**/tools/digits/**", pass_on)
    page.goto(f"{address}/tools/digits/")
    draw(page, SEVEN)
    settle(page, "accepted")
    expect(page.locator("#snippet")).to_contain_text(f"{address}/tools/digits/predict")
