"""Outcomes -> rows: JSON lines, CSV, or a table; and what a file of them has already."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import DigitsError, Problem
from .pictures import half_blocks
from .results import Outcome, Prediction
from .sources import UsageError, name_of

DIGITS = range(10)
COLUMNS = ("image", "label", "confidence", "rejected", "error", *(f"p{digit}" for digit in DIGITS))
"""Of CSV; `p0` to `p9` are the probabilities."""
PLACE = re.compile(r"Image \d+: ")
"""Begins a problem's text: the image's place in a request that the command has put together."""
HIGHEST_SHOWN = 0.9999
"""Probability above which a table for people says no more."""
TABLE_ROWS = 32
"""Rows of a table that are written together: a folder of any size has one that is written on."""


class RowWriter(Protocol):
    """Writes outcomes in a form."""

    def write(self, outcome: Outcome) -> None:
        """Write the row of an outcome."""

    def close(self) -> None:
        """Write what is held back."""


def reason_of(error: DigitsError) -> str:
    """Return what to say of an image that could not be read."""
    return PLACE.sub("", str(error), count=1)


class JsonLines:
    """Writes an object a line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, outcome: Outcome) -> None:
        """Write the row of an outcome."""
        # ASCII, with escapes: a file's name need not be text.
        self._file.write(json.dumps(record_of(outcome)) + "\n")

    def close(self) -> None:
        """Write what is held back: nothing."""


def record_of(outcome: Outcome) -> dict[str, Any]:
    """Return the JSON object of an outcome: `image`, and a prediction's members or `error`."""
    record: dict[str, Any] = {"image": name_of(outcome.source)}
    if outcome.prediction is None:
        return record | {"error": error_record(outcome.error)}
    prediction = outcome.prediction
    return record | {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities,
        "rejected": prediction.rejected,
        "model": {"name": prediction.model.name, "version": prediction.model.version},
    }


def error_record(error: DigitsError | None) -> dict[str, Any]:
    """Return the JSON object of an error: `detail`, and what the service said of its kind."""
    kind = {"type": error.type, "status": error.status} if isinstance(error, Problem) else {}
    return {**kind, "detail": reason_of(error) if error else ""}


class Csv:
    """Writes `COLUMNS`, below a header unless the file has it already."""

    def __init__(self, file: TextIO, *, has_header: bool = False) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        if not has_header:
            self._rows.writerow(COLUMNS)

    def write(self, outcome: Outcome) -> None:
        """Write the row of an outcome."""
        name, prediction = name_of(outcome.source), outcome.prediction
        if prediction is None:
            reason = reason_of(outcome.error) if outcome.error else ""
            self._rows.writerow([name, "", "", "", reason, *[""] * len(DIGITS)])
        else:
            self._rows.writerow(
                [
                    name,
                    prediction.label,
                    prediction.confidence,
                    prediction.rejected,
                    "",
                    *prediction.probabilities,
                ]
            )

    def close(self) -> None:
        """Write what is held back: nothing."""


class TableRows:
    """Writes a table for people, with pictures of what the model saw where there are any."""

    def __init__(self, console: Console, *, pictures: bool) -> None:
        self._console = console
        self._pictures = pictures
        self._show_header = True
        self._table = self._new_table()

    def write(self, outcome: Outcome) -> None:
        """Add the row of an outcome."""
        cells = [Text(printable(name_of(outcome.source))), *_cells(outcome)]
        if self._pictures:
            cells.insert(1, _picture(outcome.prediction))
        self._table.add_row(*cells)
        if self._table.row_count == TABLE_ROWS:
            self.close()

    def close(self) -> None:
        """Write what is held back."""
        if self._table.row_count:
            self._console.print(self._table)
            self._show_header = False
            self._table = self._new_table()

    def _new_table(self) -> Table:
        table = Table(box=None, show_header=self._show_header, padding=(0, 2, 1, 0), expand=True)
        if not self._pictures:
            table.padding = (0, 2, 0, 0)
        table.add_column("image", ratio=3, overflow="fold")
        if self._pictures:
            table.add_column("seen", width=14, no_wrap=True)
        table.add_column("digit", width=5, justify="right", style="bold")
        table.add_column("confidence", width=10, justify="right")
        table.add_column("note", ratio=2, overflow="fold")
        return table


def _cells(outcome: Outcome) -> list[Text]:
    """Return digit, confidence and note."""
    if outcome.prediction is None:
        reason = reason_of(outcome.error) if outcome.error else ""
        return [Text("–"), Text(""), Text(printable(reason), "red")]
    prediction = outcome.prediction
    label = "–" if prediction.label is None else str(prediction.label)
    note = Text((prediction.rejected or "").replace("_", " "), "yellow")
    return [Text(label), Text(percent(prediction.confidence)), note]


def percent(confidence: float) -> str:
    """Return a probability in per cent; nothing that was read is certain, so none is 100."""
    return f"{confidence:.2%}" if confidence < HIGHEST_SHOWN else f">{HIGHEST_SHOWN:.2%}"


def _picture(prediction: Prediction | None) -> Text:
    if prediction is not None and prediction.seen is not None:
        with suppress(ValueError):  # another kind of picture than ours: the row goes without
            return half_blocks(prediction.seen.image)
    return Text()


def printable(text: str) -> str:
    """Return `text` without what would move a terminal's cursor, or can't be encoded."""
    return "".join(character if character.isprintable() else "�" for character in text)


def names_in(path: Path, *, is_csv: bool) -> set[str]:
    """Return the images that a file of results has, after its unfinished last line is cut off.

    Raises:
        UsageError: It is a file of another kind.
    """
    _cut_unfinished_line(path)
    kind = "CSV" if is_csv else "JSON lines"
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return set(_csv_names(file) if is_csv else _json_names(file))
    except (ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise UsageError(f"{path} holds no results as {kind}, so they can't be resumed.") from error


def _json_names(lines: TextIO) -> Iterator[str]:
    return (json.loads(line)["image"] for line in lines)


def _csv_names(lines: TextIO) -> Iterator[str]:
    rows = csv.reader(lines, strict=True)
    header = next(rows, None)
    if header is None:
        return
    if tuple(header) != COLUMNS:
        raise ValueError("other columns")
    for row in rows:
        yield row[0]


def _cut_unfinished_line(path: Path) -> None:
    """Remove what stands behind the last line break: a row that an interruption cut short."""
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        step = 2**16
        start = end
        while start > 0:
            start = max(0, start - step)
            file.seek(start)
            at = file.read(min(step, end - start)).rfind(b"\n")
            if at >= 0:
                file.truncate(start + at + 1)
                return
        file.truncate(0)
