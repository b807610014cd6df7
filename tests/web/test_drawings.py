"""The benchmark that draws by mouse sees what the page says, and when."""

from __future__ import annotations

from playwright.sync_api import Browser

from benchmarks.drawings import REJECTED, RIGHT, WRONG, Answer, ask_all, summary
from benchmarks.handwriting import drawings


def test_digits_drawn_by_mouse_are_read_and_timed(browser: Browser, address: str) -> None:
    wanted = [one for one in drawings() if one.name in {"3, plain", "7, slanted", "2, dotted"}]
    answers = list(ask_all(browser, address, wanted))
    assert [answer.outcome for answer in answers] == [RIGHT] * 3
    assert all(answer.milliseconds > 0 for answer in answers)


def test_the_summary_counts_outcomes_apart() -> None:
    seven, *_ = [one for one in drawings() if one.label == 7]
    given = [("accepted", 7, 10.0), ("accepted", 1, 30.0), ("rejected", 7, 20.0)]
    found = summary([Answer(seven, *one) for one in given])
    assert found == {
        "drawings": 3,
        RIGHT: 1,
        REJECTED: 1,
        WRONG: 1,
        "median_ms": 20.0,
        "p95_ms": 20.0,
    }
