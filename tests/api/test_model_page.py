"""The model's card is a page for a browser, whatever figures it has, and JSON for programs."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api.model_page import WORST_KINDS, model_page
from tests.conftest import ROOT

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Outline(HTMLParser):
    """The headings of a page, its table rows, and how many elements are open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.rows: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in {"meta", "link", "img"} and tag != "rect":
            self._open.append(tag)
        if tag == "tr":
            self.rows.append("")
        if tag in {"h1", "h2", "caption"}:
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "tr" in self._open:
            self.rows[-1] += data + " "
        elif self._open and self._open[-1] in {"h1", "h2", "caption"}:
            self.headings[-1] += data


def outline(card: dict[str, Any]) -> Outline:
    return Outline(bytes(model_page(card).body).decode())


def card_of(version: int) -> dict[str, Any]:
    path = ROOT / "models" / "digits" / str(version) / "model_card.json"
    card: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return card


def test_a_browser_gets_a_page_and_a_program_the_card(client: TestClient) -> None:
    page, card = client.get("/model", headers=BROWSER), client.get("/model")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["vary"] == card.headers["vary"] == "Accept"
    assert page.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert card.headers["content-type"] == "application/json"
    assert "Model digits, version 1" in page.text
    assert client.get("/model", headers={"accept": "*/*"}).json() == card.json()


def test_the_shipped_versions_figures_uses_and_limits_are_on_it() -> None:
    page = outline(card_of(7))
    assert page.headings[:4] == [
        "Model digits, version 7",
        "What it is for",
        "Where it fails",
        "How well it reads",
    ]
    assert any("USPS digits: read wrong" in heading for heading in page.headings)
    assert "MNIST's test set 99.72% 99.60–99.81 of 10,000 " in page.rows
    assert any(row.endswith("of 250 ") for row in page.rows)
    assert "pencil 6.7% " in page.rows
    assert any(row.startswith("images learned from 55,000") for row in page.rows)


def test_the_worst_kinds_come_first_and_the_others_are_named() -> None:
    kinds = {f"kind {number}": 1 - number / 1000 for number in range(WORST_KINDS + 3)}
    card = {"name": "digits", "version": "9", "figures": {"scenes_of_usps": {"kinds": kinds}}}
    text = bytes(model_page(card).body).decode()
    rows = Outline(text).rows
    assert rows[0].startswith(f"kind {WORST_KINDS + 2} ")
    assert len(rows) == WORST_KINDS
    assert "0.20% or less: kind 2, kind 1, kind 0." in text


@pytest.mark.parametrize(
    "card",
    [
        card_of(1),
        {"name": "digits", "version": "2"},
        {"name": "digits", "version": "2", "figures": {"outliers": {"kinds": {"dots": 1.0}}}},
    ],
    ids=["plain", "bare", "without failures"],
)
def test_a_card_with_less_on_it_has_a_page(card: dict[str, Any]) -> None:
    assert outline(card).headings[0] == f"Model digits, version {card['version']}"


def test_what_is_on_a_card_is_text_and_no_markup() -> None:
    card = card_of(1) | {"digit_score": "<script>", "name": "<b>"}
    text = bytes(model_page(card).body).decode()
    assert "<script>" not in text
    assert "<b>" not in text
