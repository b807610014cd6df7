"""Numbers of files -> rows: JSON lines, CSV, or a table."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable
from typing import Any, NamedTuple, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import DigitsError
from .results import Number
from .rows import error_record, percent, printable, reason_of

COLUMNS = ("image", "text", "confidence", "rejected", "error")
"""Of CSV."""


class NumberOutcome(NamedTuple):
    """What became of a file: the number in it, or the error that it cost."""

    name: str
    number: Number | None
    error: DigitsError | None = None

    @property
    def is_read(self) -> bool:
        """Whether there is a number that may be used."""
        return self.number is not None and self.number.rejected is None


def write_json(outcomes: Iterable[NumberOutcome], file: TextIO) -> None:
    """Write a JSON object a line: `image`, and a number's members or `error`."""
    file.writelines(json.dumps(_record_of(outcome)) + "\n" for outcome in outcomes)


def _record_of(outcome: NumberOutcome) -> dict[str, Any]:
    record: dict[str, Any] = {"image": outcome.name}
    if outcome.number is None:
        return record | {"error": error_record(outcome.error)}
    record |= dataclasses.asdict(outcome.number)
    del record["seen"]
    return record


def write_csv(outcomes: Iterable[NumberOutcome], file: TextIO) -> None:
    """Write `COLUMNS`, below a header."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    for name, number, error in outcomes:
        if number is None:
            rows.writerow([name, "", "", "", reason_of(error) if error else ""])
        else:
            rows.writerow([name, number.text, number.confidence, number.rejected, ""])


def write_table(outcomes: Iterable[NumberOutcome], console: Console) -> None:
    """Write a table for people."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column("image", ratio=3, overflow="fold")
    table.add_column("number", ratio=2, style="bold", overflow="fold")
    table.add_column("confidence", width=10, justify="right")
    table.add_column("note", ratio=2, overflow="fold")
    for outcome in outcomes:
        table.add_row(Text(printable(outcome.name)), *_cells(outcome))
    console.print(table)


def _cells(outcome: NumberOutcome) -> list[Text]:
    """Return number, confidence and note."""
    number = outcome.number
    if number is None:
        reason = reason_of(outcome.error) if outcome.error else ""
        return [Text("–"), Text(""), Text(printable(reason), "red")]
    note = Text((number.rejected or "").replace("_", " "), "yellow")
    return [Text(number.text or "–"), Text(percent(number.confidence)), note]
