"""A progress bar on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .results import Outcome


def with_bar(outcomes: Iterable[Outcome], total: int | None) -> Iterator[Outcome]:
    """Yield `outcomes`, and show how many of `total` there were, and have failed."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} not read"),
        TimeRemainingColumn(),
    )
    failed = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total, failed=0)
        for outcome in outcomes:
            failed += not is_read(outcome)
            progress.update(bar, advance=1, failed=failed)
            yield outcome


def is_read(outcome: Outcome) -> bool:
    """Return whether there is a prediction that may be used."""
    return outcome.prediction is not None and outcome.prediction.rejected is None
