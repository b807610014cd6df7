"""The report of a run in Markdown: its tables for `docs/benchmark.md` and the README."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bars
from benchmarks.bars import BUSY, HALF, JSON_CONNECTIONS, JSON_IMAGES, PHOTO_CONNECTIONS, RATE
from benchmarks.records import DIGITS, Record, Records

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
README_ROWS = (
    ("a mix of what people send, 64 connections", "mix", BUSY, RATE),
    ("canvas, 280×280 RGBA PNG", "canvas", BUSY, RATE),
    ("photo, 12-megapixel JPEG", "large-photo", PHOTO_CONNECTIONS, RATE),
    ("28×28 PNG", "png-28", BUSY, RATE),
    ("p50 at one connection, the mix", "mix", 1, "p50_ms"),
    ("p99 at half of the best peer's peak, the mix", "mix", HALF, "p99_ms"),
)
SINGLE_KINDS = (
    ("canvas", BUSY, "canvas"),
    ("large-photo", PHOTO_CONNECTIONS, "12-megapixel JPEG"),
    ("png-28", BUSY, "28×28 PNG"),
    ("json-64", JSON_CONNECTIONS, "JSON, 64 images"),
)
SUFFIX = {RATE: "/s", "p50_ms": " ms", "p99_ms": " ms"}


def full(records: Records) -> str:
    """Return every table, with the machine, the commit and the time of the measurements."""
    sections = {
        "The bars": bars.table(bars.bars(records)),
        "The mix": mix(records),
        "Each kind alone": kinds(records),
        f"Latency at {HALF}": steady(records),
        "Time by step": steps(records),
        "Worst requests": worst(records),
        "The service alone": alone(records),
        "Not measured": notes(records),
    }
    found = [f"### {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join([measured(records), *found])


def measured(records: Records) -> str:
    """Return when, where and what the runs have measured; runs that differ in time only as one."""
    times: dict[str, list[str]] = {}
    for run, how in records.runs_left().items():
        text = f"commit `{how['commit']}`; {how['machine']}; pictures from {how['pictures']}"
        times.setdefault(text, []).append(run)
    lines = [
        f"- {runs[0]}{f' to {runs[-1]}' if runs[1:] else ''}: {text}."
        for text, runs in times.items()
    ]
    return "\n".join(["Measured:", "", *lines])


def notes(records: Records) -> str:
    """Return why servers lack figures, as a list."""
    return "\n".join(f"- {name}: {_one_line(reason)}" for name, reason in records.notes.items())


def readme(records: Records) -> str:
    """Return the README's table: the service, the best peer and the ratio."""
    rows = []
    for name, case, load, figure in README_ROWS:
        peer, ratio = records.best_peer(case, load, figure) or ("", None)
        mine, theirs = (records.median(s, case, load, figure) for s in (DIGITS, peer))
        cells = [_number(value, SUFFIX[figure]) for value in (mine, theirs)]
        rows.append([name, cells[0], f"{cells[1]} ({peer})" if peer else "", _number(ratio)])
    return _table(["", "Digits", "best peer", "ratio"], rows)


def mix(records: Records) -> str:
    """Return every server's figures on the mix, the fastest first."""
    rows = []
    for server in _by_rate(records):
        started = records.of(server, "server")
        right = started[-1].figures["right_share"] if started else None
        memory = started[-1].figures["megabytes"] if started else None
        core = records.median(server, "mix", BUSY, "core_us")
        rows.append(
            [
                server,
                _figure(records, server, "mix", BUSY, RATE),
                _number(core, " µs"),
                _figure(records, server, "mix", BUSY, "p50_ms"),
                _figure(records, server, "mix", BUSY, "p99_ms"),
                _figure(records, server, "mix", 1, "p50_ms"),
                "" if right is None else f"{right:.0%}",
                _number(memory, " MB"),
            ]
        )
    head = [
        "server", f"requests/s, {BUSY} connections", "CPU a request", "p50", "p99",
        "p50, 1 connection", "right", "memory",
    ]  # fmt: skip
    return _table(head, rows)


def kinds(records: Records) -> str:
    """Return every server's requests a second and CPU time on one kind of request alone."""
    head = ["server"]
    for _, connections, name in SINGLE_KINDS:
        head += [f"{name}, {connections} connections", "CPU"]
    rows = []
    for server in [*_by_rate(records), "http-floor"]:
        row = [server]
        for case, connections, _ in SINGLE_KINDS:
            core = records.median(server, case, connections, "core_us")
            row += [_figure(records, server, case, connections, RATE), _number(core, " µs")]
        if any(row[1:]):
            rows.append(row)
    bare = records.median("bare", "json-64", "", "images_per_second")
    bare_core = records.median("bare", "json-64", "", "core_us")
    if bare and bare_core:
        batch, core = bare / JSON_IMAGES, bare_core * JSON_IMAGES
        rows.append(["bare signature", *[""] * 6, _number(batch, "/s"), _number(core, " µs")])
    return _table(head, rows)


def steady(records: Records) -> str:
    """Return p50 and p99 of an open loop at half of the best peer's peak."""
    rows = []
    for server in _by_rate(records):
        row = [server]
        for case in bars.LATENCY_CASES:
            row.append(_number(records.median(server, case, HALF, "offered_per_second"), "/s"))
            row += [_figure(records, server, case, HALF, name) for name in ("p50_ms", "p99_ms")]
        if any(row[1:]):
            rows.append(row)
    head = ["server", "the mix, offered", "p50", "p99", "28×28 PNG, offered", "p50", "p99"]
    return _table(head, rows)


def steps(records: Records) -> str:
    """Return the service's CPU time of a lone request, and its time in each step by the clock.

    At one connection nothing waits and nothing runs beside it, so that the two can be compared.
    """
    cases = (("mix", "the mix"), ("png-28", "28×28 PNG"))
    found = {case: records.of(DIGITS, case, 1) for case, _ in cases}
    names = dict.fromkeys(
        name
        for measurements in found.values()
        for record in measurements
        for name in record.figures
        if name.endswith("_us") and name not in ("core_us", "driver_us")
    )
    if not names:
        return ""
    rows = [
        [title, *(_number(records.median(DIGITS, case, 1, n), " µs") for n in ("core_us", *names))]
        for case, title in cases
    ]
    return _table(["", "CPU in all", *(name.removesuffix("_us") for name in names)], rows)


def worst(records: Records) -> str:
    """Return the worst `/healthz` under each worst request and flood, and their answers."""
    rows = []
    for record in [*records.of_case(DIGITS, "worst"), *records.of_case(DIGITS, "flood")]:
        figures = record.figures
        rows.append(
            [
                record.load,
                f"{figures['body_bytes']:,.0f}" if "body_bytes" in figures else "",
                f"{figures['health_worst_ms']:.1f} ms",
                f"{figures['probe_late_ms']:.1f} ms",
                f"{figures['stolen_ms']:.0f} ms" if "stolen_ms" in figures else "",
                f"{figures['health_before_ms']:.1f} ms",
                _statuses(record),
                f"{figures['seconds']:.1f} s",
            ]
        )
    head = [
        "clients × request",
        "bytes",
        "worst `/healthz`",
        "the probe itself late",
        "cores stolen",
        "at rest",
        "answers",
        "took",
    ]
    return _table(head, rows)


def alone(records: Records) -> str:
    """Return start, memory and overload of the service without peers."""
    rows = []
    for server, name in ((DIGITS, "one worker"), ("bare", "bare TensorFlow with the model")):
        for figure, unit in (("seconds", " s"), ("megabytes", " MB")):
            value = records.median(server, "process", "", figure)
            what = "memory" if figure == "megabytes" else "start"
            if value is not None:
                rows.append([f"{what}, {name}", _number(value, unit)])
    for record in records.of(DIGITS, "memory"):
        peak, after = record.figures["peak_gigabytes"], record.figures["after_gigabytes"]
        rows.append(
            ["two workers under all of these, anonymous memory at its peak", f"{peak:.2f} GB"]
        )
        rows.append(["… a minute after", f"{after:.2f} GB"])
    for record in records.of(DIGITS, "overload"):
        figures = record.figures
        rows += [
            ["peak, JSON batches of 16", _number(figures["peak_images_per_second"], " images/s")],
            ["goodput at twice the peak", f"{figures['goodput_share']:.2f} of the peak"],
            ["answers under overload", _statuses(record)],
            ["wrong or lost", f"{figures['wrong_or_lost']:.0f}"],
            ["a refusal, p99", _number(figures["refusal_p99_ms"], " ms")],
            ["a lone request before", _number(figures["lone_before_ms"], " ms")],
            ["a lone request right after", _number(figures["lone_after_ms"], " ms")],
        ]
    return _table(["", ""], rows)


def fill(document: Path, figures: str) -> None:
    """Replace the part of a document between its two markers. Raises ValueError without them."""
    text = document.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{document} lacks the lines {BEGIN} and {END}.")
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    document.write_text(f"{head}{BEGIN}\n\n{figures}\n\n{tail}")


def _by_rate(records: Records) -> list[str]:
    rates = {
        server: records.median(server, "mix", BUSY, RATE) or 0.0
        for server in (DIGITS, *records.peers())
    }
    return sorted(rates, key=lambda server: -rates[server])


def _figure(records: Records, server: str, case: str, load: int | str, figure: str) -> str:
    """Return a figure and, of a peer, the service's ÷ this; or how many requests failed.

    Refusals are soon made: where too many failed, there is no figure.
    """
    value = records.median(server, case, load, figure)
    found = records.of(server, case, load)
    if value is None and found:
        failed, answered = (sum(r.figures[f] for r in found) for f in ("failed", "requests"))
        return f"{failed / (failed + answered):.0%} failed" if failed + answered else "no answer"
    suffix = "" if figure == RATE else SUFFIX[figure]
    ratio = None if server == DIGITS else records.ratio(case, load, figure, to=server)
    return _number(value, suffix) + ("" if ratio is None else f" ({_number(ratio)})")


def _statuses(record: Record) -> str:
    counts = {
        name.removeprefix("status_"): number
        for name, number in record.figures.items()
        if name.startswith("status_")
    }
    return ", ".join(f"{number:,.0f} × {status}" for status, number in sorted(counts.items()))


def _number(value: float | None, unit: str = "") -> str:
    """Return a number with three digits or more, or nothing."""
    if value is None:
        return ""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}{unit}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()
