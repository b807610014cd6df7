"""People: a version on a folder of labelled images as people have them, of several sources.

The folder has `labels.csv` with the columns `file` and `label` and, if wanted, `source` and `kind`,
as `training.corpora.folder` describes it, and of more than single digits: a label of one digit is a
digit's, an empty one says that there is none, and any other that there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.inference.card import wilson
from training.corpora import folder
from training.corpora.data import DataError
from training.corpora.folder import Entry
from training.evaluate import Answers, Subject

Figures = dict[str, Any]
Flags = NDArray[np.bool_]

SAID = (0.9, 0.99)
"""Confidences between which an answer should be right about as often as it says."""


def report(subject: Subject, place: Path) -> Figures:
    """Measure single digits, overall, by source, kind and label; several digits; and none.

    Raises:
        DataError: There is no such folder, or it has neither form.
    """
    if not place.is_dir():
        raise DataError(f"{place}: no such folder")
    entries = list(folder.listed(place))
    answers = subject.files([(place / entry.name).read_bytes() for entry in entries])
    single = np.array([folder.is_label(entry.label) for entry in entries])
    empty = np.array([not entry.label for entry in entries])
    return {
        "single_digits": of_singles(of(answers, single), [e for e in entries if is_single(e)]),
        "several_digits": of_others(answers, entries, ~single & ~empty),
        "no_digit": of_others(answers, entries, empty),
    }


def is_single(entry: Entry) -> bool:
    """Tell whether an entry is labelled as one digit."""
    return folder.is_label(entry.label)


def of(answers: Answers, flags: Flags) -> Answers:
    """Return the answers that are flagged."""
    return Answers(answers.probabilities[flags], answers.accepted[flags])


def of_singles(answers: Answers, entries: Sequence[Entry]) -> Figures:
    """Measure the answers to single digits."""
    right = answers.labels == np.array([int(entry.label) for entry in entries], int)
    said = answers.probabilities.max(axis=1, initial=0.0)
    between = (said >= SAID[0]) & (said < SAID[1])
    return tally(right, answers.accepted) | {
        "right_of_said_0.9_to_0.99": ratio(right[between]),
        "by_label": grouped(right, answers.accepted, [entry.label for entry in entries]),
        "by_source": grouped(right, answers.accepted, [entry.source for entry in entries]),
        "by_kind": grouped(right, answers.accepted, [entry.kind for entry in entries]),
    }


def grouped(right: Flags, accepted: Flags, names: Sequence[str]) -> Figures:
    """Return the tally of each name; nothing where all have the same."""
    keys = np.array(names)
    each = sorted(set(names))
    if len(each) < 2:
        return {}
    return {name: tally(right[keys == name], accepted[keys == name]) for name in each}


def tally(right: Flags, accepted: Flags) -> Figures:
    """Return how many are right, accepted, both, and right among the accepted."""
    return {
        "right": ratio(right),
        "accepted": ratio(accepted),
        "accepted_and_right": ratio(right & accepted),
        "right_of_accepted": ratio(right[accepted]),
    }


def of_others(answers: Answers, entries: Sequence[Entry], flags: Flags) -> Figures:
    """Return the share rejected of the flagged images, none of which is a single digit."""
    rejected = ~answers.accepted
    names = np.array([entry.source for entry in entries])
    sources = sorted(set(names[flags].tolist()))
    by_source = {name: ratio(rejected[flags & (names == name)]) for name in sources}
    return {"rejected": ratio(rejected[flags])} | (
        {"by_source": by_source} if len(sources) > 1 else {}
    )


def ratio(flags: Flags) -> Figures:
    """Return how many flags are set, of how many, as a share with its 95% interval."""
    hits = int(flags.sum())
    low, high = wilson(hits, len(flags))
    share = hits / len(flags) if len(flags) else 0.0
    return {
        "hits": hits,
        "of": len(flags),
        "share": round(share, 6),
        "interval": [round(low, 4), round(high, 4)],
    }


def lines(figures: Figures) -> list[str]:
    """Return the report as a table in Markdown, without the groups by label."""
    singles = figures["single_digits"]
    rows = [
        "| images | n | right | accepted | right among accepted |",
        "| --- | --- | --- | --- | --- |",
        row("single digits", singles),
        *(row(f"… of source {name}", each) for name, each in singles["by_source"].items()),
        *(row(f"… {name or 'of no kind'}", each) for name, each in singles["by_kind"].items()),
    ]
    if ones := singles["by_label"].get("1"):
        rows.append(row("… ones", ones))
    said = singles["right_of_said_0.9_to_0.99"]
    return [
        *rows,
        "",
        f"Said 0.9 to 0.99: right in {words(said)}",
        f"Several digits, rejected: {words(figures['several_digits']['rejected'])}",
        f"No digit, rejected: {words(figures['no_digit']['rejected'])}",
    ]


def row(name: str, each: Figures) -> str:
    """Return a line of the table."""
    shares = [each[key] for key in ("right", "accepted", "right_of_accepted")]
    return f"| {name} | {each['right']['of']} | " + " | ".join(map(words, shares)) + " |"


def words(share: Figures) -> str:
    """Return a share in words: 97.2% (94.3–98.6)."""
    low, high = (100 * edge for edge in share["interval"])
    if not share["of"]:
        return "none"
    return f"{100 * share['share']:.1f}% ({low:.1f}–{high:.1f})"
