"""The page of a comparison: one HTML file with its pictures inside."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

Figures = dict[str, Any]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ccc }
th:first-child, td:first-child { text-align: left }
img { max-width: 100% }
"""
ROWS = {
    "accuracy": "right",
    "interval": "95% interval of it",
    "accepted": "accepted",
    "accuracy_of_accepted": "right, of those accepted",
    "ece": "expected calibration error",
    "negative_log_likelihood": "negative log-likelihood",
    "microseconds_alone": "µs an image, alone",
    "microseconds_full": "µs an image, in full batches",
    "bytes": "bytes on disk",
    "parameters": "parameters",
}
SHARES = {"accuracy", "interval", "accepted", "accuracy_of_accepted", "ece"}


def render(figures: Figures, verdict: str, folder: Path) -> str:
    """Return the page of a comparison, with `differing.png` and `reliability.png` of `folder`."""
    names = [f"version {version['version']}" for version in figures["versions"]]
    shown = len(figures["differing"])
    parts = [
        f"<h1>{escape(' and '.join(names)).capitalize()}</h1>",
        f"<p><strong>{escape(verdict)}</strong></p>",
        f"<p>{figures['images']['count']:,} images.</p>",
        *(f"<p>{escape(word)}</p>" for word in figures["images"]["words"]),
        table(["", *names], _figures(figures["versions"])),
        f"<p>Difference in accuracy: {percent(figures['difference']['accuracy'])}, 95% interval "
        f"{percent(figures['difference']['interval'])}.</p>",
        "<h2>By label</h2>",
        _groups(figures["labels"], names),
        *(["<h2>By kind</h2>", _groups(figures["kinds"], names)] if figures["kinds"] else []),
        "<h2>Where they differ</h2>",
        f"<p>{shown:,} images are labelled or accepted differently. Above each of the first: its "
        f"label, and the answers of {escape(' and '.join(names))}; a question mark where an answer "
        "is rejected, orange where the second is wrong.</p>",
        picture(folder / "differing.png", "Images that the versions answer differently")
        if shown
        else "",
        "<h2>Calibration</h2>",
        picture(folder / "reliability.png", "Share of right answers by confidence"),
    ]
    title = escape(" and ".join(names)).capitalize()
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )


def _figures(versions: Sequence[Figures]) -> Iterable[list[str]]:
    for name, title in ROWS.items():
        show = percent if name in SHARES else number
        yield [title, *(show(version[name]) for version in versions)]


def _groups(groups: Figures, names: Sequence[str]) -> str:
    header = ["", "images", *names, *(f"right with {name} alone" for name in names), "p"]
    return table(
        header,
        (
            [
                name,
                number(group["count"]),
                *(percent(accuracy) for accuracy in group["accuracies"]),
                number(group["only_first_right"]),
                number(group["only_second_right"]),
                f"{group['mcnemar_p']:.2g}",
            ]
            for name, group in groups.items()
        ),
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are texts."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    return f"<table><tr>{head}</tr>\n{body}</table>"


def picture(file: Path, text: str) -> str:
    """Return a PNG as part of the page."""
    content = b64encode(file.read_bytes()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{content}">'


def percent(share: float | Sequence[float]) -> str:
    """Return a share, or the edges of an interval, in percent."""
    if isinstance(share, Sequence):
        return " to ".join(percent(edge) for edge in share)
    return f"{100 * share:.2f}%"


def number(value: float | None) -> str:
    """Return a number with its thousands apart."""
    return "unknown" if value is None else f"{value:,}"
