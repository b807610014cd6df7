"""How far along it is: a bar on a terminal, plain lines in a log."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import track

Item = TypeVar("Item")


def bar(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """`items` as they are, with a bar while they last if someone is looking."""
    if not sys.stdout.isatty():
        return iter(items)
    return iter(track(items, description=title, total=total, transient=True))


def line(title: str, figures: dict[str, float]) -> None:
    text = "  ".join(f"{name} {value:.5g}" for name, value in figures.items())
    print(f"{title}: {text}", flush=True)
