"""`python -m benchmarks.drawings --url URL`: 83 digits drawn by mouse on the page, in Chromium.

Each is drawn as `benchmarks.handwriting` has it, at the speed at which the browser takes a mouse's
positions. Counted is what the page says when the pen is up: read right, rejected, or wrong and
accepted. Timed is, in the browser's clock, from the event of the pen's lift to the first frame with
the answer on the screen. The page is opened by day and by night in turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.handwriting import Drawing, drawings

RIGHT, REJECTED, WRONG = "right", "rejected", "wrong and accepted"

STOPWATCH = """() => {
  const answer = document.getElementById("answer");
  const stopwatch = document.documentElement.dataset;
  const channel = new MessageChannel();
  let lifted = null;
  addEventListener("pointerup", (event) => { lifted = event.timeStamp; }, true);
  addEventListener("pointerdown", () => { lifted = null; delete stopwatch.milliseconds; }, true);
  channel.port1.onmessage = ({ data }) => {
    if (data === lifted) stopwatch.milliseconds ??= performance.now() - lifted;
  };
  new MutationObserver(() => {
    const isWhole = answer.dataset.finished === "true" && answer.ariaBusy === "false";
    if (lifted === null || !isWhole) return;
    const since = lifted;
    requestAnimationFrame(() => channel.port2.postMessage(since));
  }).observe(answer, { attributes: true });
}"""
"""Writes down the milliseconds: a message posted in a frame's callback comes after its paint."""


class Answer(NamedTuple):
    """What the page said of a drawing, and how long after the pen's lift, in ms."""

    drawing: Drawing
    state: str
    label: int
    milliseconds: float

    @property
    def outcome(self) -> str:
        """Whether it was read right, rejected, or accepted as another digit."""
        if self.state != "accepted":
            return REJECTED
        return RIGHT if self.label == self.drawing.label else WRONG


def draw(page: Page, drawing: Drawing) -> None:
    """Draw with the mouse on an empty pad."""
    page.get_by_title(drawing.pen).click()
    pad = page.locator("#pad").bounding_box()
    if pad is None:
        raise RuntimeError("the page has no pad")
    for stroke in drawing.strokes:
        spots = [(pad["x"] + x * pad["width"], pad["y"] + y * pad["height"]) for x, y in stroke]
        page.mouse.move(*spots[0])
        page.mouse.down()
        for spot in spots[1:]:
            page.mouse.move(*spot)
        page.mouse.up()


def ask(page: Page, drawing: Drawing) -> Answer:
    """Draw and return what the page says."""
    page.keyboard.press("Escape")
    draw(page, drawing)
    page.locator("html[data-milliseconds]").wait_for()
    state = page.locator("#answer").get_attribute("data-state") or ""
    best = page.locator("#bars .best .name")
    label = int(best.inner_text()) if best.count() else -1
    milliseconds = float(page.locator("html").get_attribute("data-milliseconds") or "nan")
    return Answer(drawing, state, label, milliseconds)


def ask_all(browser: Browser, url: str, wanted: Iterable[Drawing]) -> Iterator[Answer]:
    """Draw all on two pages, one by day and one by night, in turns."""
    pages = []
    for scheme in ("light", "dark"):
        page = browser.new_context(color_scheme=scheme).new_page()
        page.goto(url)
        page.evaluate(STOPWATCH)
        pages.append(page)
    for number, drawing in enumerate(wanted):
        page = pages[number % 2]
        page.bring_to_front()
        yield ask(page, drawing)


def run(url: str, wanted: Iterable[Drawing]) -> list[Answer]:
    """Return the answers of the page at `url`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("There is no chromium on the PATH.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        answers = list(ask_all(browser, url, wanted))
        browser.close()
    return answers


def summary(answers: list[Answer]) -> dict[str, float]:
    """Return how many there are of each outcome, and the milliseconds from lift to answer."""
    outcomes = Counter(answer.outcome for answer in answers)
    times = sorted(answer.milliseconds for answer in answers)
    return {
        "drawings": len(answers),
        **{outcome: outcomes[outcome] for outcome in (RIGHT, REJECTED, WRONG)},
        "median_ms": round(statistics.median(times), 1),
        "p95_ms": round(times[int(0.95 * (len(times) - 1))], 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawings", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    arguments = parser.parse_args()
    found = run(arguments.url, drawings())
    for answer in found:
        if answer.outcome != RIGHT:
            said = f"{answer.outcome}, {answer.label} ahead"
            print(f"{answer.drawing.name}: {said}", file=sys.stderr)
    print(json.dumps(summary(found), indent=2))
