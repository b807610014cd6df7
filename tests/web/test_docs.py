"""The documentation pages: their vendored libraries run under the policy and ask no other host."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from .conftest import opened

WEB = Path(__file__).parents[2] / "app" / "web"


@pytest.mark.parametrize(("name", "shows"), [("docs", "#swagger-ui .opblock"), ("redoc", "h1, h2")])
def test_a_documentation_page_needs_nothing_from_elsewhere(
    browser: Browser, address: str, name: str, shows: str
) -> None:
    asked: list[str] = []
    with opened(browser, "about:blank") as page:
        page.on("request", lambda request: asked.append(request.url))
        answer = page.goto(f"{address}/{name}")
        expect(page.locator(shows).first).to_be_visible()
        expect(page.get_by_text("/predict").first).to_be_attached()
    assert answer is not None
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert f"{address}/openapi.json" in asked
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert f"{address}/favicon.ico" not in asked


@pytest.mark.parametrize(
    ("name", "text"), [("docs", "#swagger-ui .opblock-summary-path"), ("redoc", "#redoc h1")]
)
def test_documentation_does_not_glare_at_night(
    browser: Browser, address: str, name: str, text: str
) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        with opened(browser, f"{address}/{name}", color_scheme=scheme) as page:
            expect(page.locator(text).first).to_be_visible()
            shot = np.asarray(Image.open(BytesIO(page.screenshot())).convert("L"))
            grounds[scheme] = float(np.median(shot))
    assert grounds["light"] > 200
    assert grounds["dark"] < 60


@pytest.mark.parametrize("name", ["index.html", "docs.html", "redoc.html", "problem.html"])
def test_no_page_has_anything_inline_or_from_another_host(name: str) -> None:
    text = (WEB / name).read_text()
    assert "<script>" not in text
    assert "<style" not in text
    assert "style=" not in text
    assert "://" not in text
    assert " on" + "click" not in text


def test_every_vendored_library_has_its_licence_beside_it() -> None:
    libraries = [folder for folder in (WEB / "vendor").iterdir() if folder.is_dir()]
    assert len(libraries) == 2
    for library in libraries:
        assert (library / "LICENSE").is_file(), library.name
        assert library.name in (WEB / "vendor" / "README.md").read_text()


def test_a_problem_is_explained_in_a_browser(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}/problems/not-an-image") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Not an image that Digits reads")
        expect(page.get_by_text("Send a PNG or JPEG")).to_be_visible()
        page.get_by_role("link", name="Digits", exact=True).click()
        expect(page.get_by_label("Drawing pad, empty")).to_be_visible()


def test_a_problem_is_json_for_a_program(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        answer = page.request.get(
            f"{address}/problems/not-an-image", headers={"accept": "application/json"}
        )
        assert answer.json()["status"] == 415
        assert answer.headers["vary"] == "Accept"


def test_pages_are_not_sent_again_and_vendored_files_are_kept(
    browser: Browser, address: str
) -> None:
    vendored = "web/vendor/swagger-ui-5.35.0/swagger-ui.css"
    with opened(browser, address) as page:
        first = page.request.get(address)
        headers = {"if-none-match": first.headers["etag"]}
        again = page.request.get(address, headers=headers)
        kept = page.request.get(f"{address}/{vendored}")
    assert again.status == 304
    assert "immutable" in kept.headers["cache-control"]
    assert first.headers["cache-control"] == "no-cache"
