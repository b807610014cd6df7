"""Progress: a bar on a terminal, plain lines in a log."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import track

Item = TypeVar("Item")


def bar(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Return `items`, shown by a bar as they are taken if stdout is a terminal."""
    if not sys.stdout.isatty():
        return iter(items)
    return iter(track(items, description=title, total=total, transient=True))


def line(title: str, figures: dict[str, float]) -> None:
    """Print one line of figures."""
    text = "  ".join(f"{name} {value:.5g}" for name, value in figures.items())
    print(f"{title}: {text}", flush=True)
