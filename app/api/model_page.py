"""The model's card as a page: what it is for, where it fails, and its figures with pictures.

Cards differ: a version has the figures that its training was given the data for. Those that are
there are shown; the JSON at the same address has all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from string import Template
from typing import Any

from starlette.responses import HTMLResponse

from ..inference.card import flat, images_of, wilson
from .pages import WEB, page_headers

MODEL_PAGE = Template((WEB / "model.html").read_text("utf-8"))

FIGURES = {
    "test_accuracy": "MNIST's test set",
    "test_accuracy_uploaded": "MNIST's test set, as PNG files",
    "usps_scanned.accuracy": "USPS digits as scans, which it never saw in training",
    "people.single_digits.right.share": "single digits as other people wrote and photographed them",
    "people.single_digits.right_of_accepted.share": "of those that are accepted are right",
    "validation_accuracy": "MNIST's held-back digits",
    "validation_altered_accuracy": "MNIST's held-back digits, altered",
    "altered_arrays.mean": "28×28 arrays under noise, blur, lines …",
    "scenes_of_held_back_mnist.mean": "scenes made from held-back MNIST digits",
    "scenes_of_usps.mean": "scenes made from USPS digits",
    "test_accepted": "of MNIST's test set is accepted",
    "outliers.rejected": "of what is no digit is rejected",
    "outliers.letters_rejected": "of letters are rejected",
    "scenes_of_usps.accuracy_of_accepted": "of accepted scenes of USPS digits are right",
    "ece": "calibration error, MNIST's test set",
    "usps_scanned.ece": "calibration error, USPS digits as scans",
}
"""Shares on a card, and what they are shares of."""
CHARTS = {
    "scenes_of_usps": ("Scenes made from USPS digits", "read wrong"),
    "scenes_of_held_back_mnist": ("Scenes made from held-back MNIST digits", "read wrong"),
    "altered_arrays": ("28×28 arrays, altered", "read wrong"),
    "outliers": ("What is no digit", "accepted all the same"),
}
"""Figures by kind: their title, and what befalls those that are not among the share."""
WORST_KINDS = 8
"""Kinds with a bar; the others are named."""
FULL_BAR = 0.1
"""Share of failures that fills a bar, if no kind has more."""


def model_page(card: Mapping[str, Any]) -> HTMLResponse:
    """Return the page of the version that `card` describes."""
    figures = flat(card.get("figures", {}))
    text = MODEL_PAGE.substitute(
        name=escape(str(card["name"])),
        version=escape(str(card["version"])),
        made=escape(_made(card)),
        figures="\n".join(_figures(figures)),
        charts="\n".join(_charts(card.get("figures", {}))),
        thresholds=_rows(_thresholds(card)),
        training=_rows(_training(card)),
    )
    return HTMLResponse(text, headers=page_headers() | {"vary": "Accept"})


def _figures(figures: Mapping[str, float]) -> Iterator[str]:
    """A row for each figure: what it is of, the figure, and its interval where it has one."""
    for key, name in FIGURES.items():
        if key not in figures:
            continue
        images, interval = images_of(figures, key), ""
        if images:
            low, high = (
                f"{100 * edge:.2f}" for edge in wilson(round(figures[key] * images), images)
            )
            interval = f"{low}–{high} of {images:,}"
        yield (
            f'<tr><th scope="row">{escape(name)}</th><td>{_percent(figures[key])}</td>'
            f"<td>{interval}</td></tr>"
        )


def _made(card: Mapping[str, Any]) -> str:
    created = str(card.get("created", ""))[:10]
    size = f"{card['parameters']:,} parameters" if "parameters" in card else ""
    cascade = card.get("cascade")
    if cascade:
        size += f", and behind it, asked where it is not sure, {cascade['parameters']:,} more"
    return ". ".join(part for part in (f"Of {created}" if created else "", size) if part) + "."


def _charts(figures: Mapping[str, Any]) -> Iterator[str]:
    for key, (title, failure) in CHARTS.items():
        kinds = figures.get(key, {}).get("kinds", {})
        if not kinds:
            continue
        worst_first = sorted(((1 - share, kind) for kind, share in kinds.items()), reverse=True)
        full = max(FULL_BAR, worst_first[0][0])
        rows = "\n".join(_bar(kind, share, full) for share, kind in worst_first[:WORST_KINDS])
        yield (
            f'<table class="rates"><caption>{title}: {failure}, by kind</caption>'
            f"<tbody>\n{rows}\n</tbody></table>"
        )
        others = ", ".join(escape(kind) for _, kind in worst_first[WORST_KINDS:])
        if others:
            most = _percent(worst_first[WORST_KINDS][0])
            yield f'<p class="quiet">{most} or less: {others}.</p>'


def _bar(kind: str, share: float, full: float) -> str:
    return (
        f'<tr><th scope="row">{escape(kind)}</th>'
        '<td><svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * share / full:.1f}" height="1"/></svg></td>'
        f"<td>{_percent(share)}</td></tr>"
    )


def _thresholds(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    thresholds = card.get("thresholds", {})
    if "digit_score" in thresholds:
        yield "least score of being a digit at all", f"{thresholds['digit_score']:.3f}"
        yield "where the score comes from", str(card.get("digit_score", "the network"))
    if "confidence" in thresholds:
        yield "least probability of the digit", f"{thresholds['confidence']:.3f}"


def _training(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    training = card.get("training", {})
    if "images" in training:
        yield "images learned from", f"{training['images']:,}"
    if "held_back" in training:
        yield "images held back, to choose by", f"{training['held_back']:,}"
    if "seconds" in training:
        yield "time", f"{training['seconds'] / 60:.0f} minutes"
    if "arguments" in training:
        given = {name: value for name, value in training["arguments"].items() if value}
        yield "arguments", ", ".join(f"{name} {value}" for name, value in given.items())
    for promotion in card.get("promotions", []):
        how = "promoted without the gate" if promotion["forced"] else "promoted"
        yield f"{how}, {promotion['promoted'][:10]}", promotion["why"]
    if "libraries" in card:
        yield (
            "libraries",
            ", ".join(f"{name} {number}" for name, number in card["libraries"].items()),
        )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%" if share > 0.99 or share < 0.01 else f"{100 * share:.1f}%"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
