"""The report holds every figure, and fills only its place in a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import plot, report
from benchmarks.bars import HALF
from benchmarks.records import Record, Records

CLOSED = {
    "requests_per_second": 1234.0, "requests": 3702.0, "failed": 0.0, "p50_ms": 4.5, "p99_ms": 56.0,
    "core_us": 1500.0, "driver_us": 20.0,
}  # fmt: skip
OPEN = CLOSED | {"offered_per_second": 100.0, "answered_per_second": 100.0}
STRESS = {
    "health_worst_ms": 17.0, "health_before_ms": 2.0, "probe_late_ms": 1.0, "stolen_ms": 30.0,
    "body_bytes": 34.0, "seconds": 1.0,
    "status_200": 60.0, "status_503": 4.0,
}  # fmt: skip
STARTED = {"right_share": 0.98, "megabytes": 900.0, "start_seconds": 9.0}


def kept() -> Records:
    """Return a run of the service and a peer."""
    loads = [("mix", "64"), ("mix", "1"), ("canvas", "64"), ("large-photo", "4"), ("png-28", "64")]
    found = [Record("monday", 0, "digits", "worst", "64 × gif", STRESS)]
    for server in ("digits", "mosec"):
        found += [Record("monday", 0, server, case, load, CLOSED) for case, load in loads]
        found.append(Record("monday", 0, server, "mix", HALF, OPEN))
        found.append(Record("monday", 0, server, "curve", "0.5", OPEN))
        found.append(Record("monday", 0, server, "server", "", STARTED))
    how = {"machine": "a processor", "commit": "abc1234", "pictures": "MNIST"}
    return Records(found, {"ray": "It needs\na | cluster."}, {"monday": how, "sunday": how})


def test_every_part_is_in_the_report() -> None:
    text = report.full(kept())
    assert "- monday: commit `abc1234`; a processor; pictures from MNIST." in text
    assert "| digits | 1,234 | 1,500 µs | 4.50 ms | 56.0 ms | 4.50 ms | 98% | 900 MB |" in text
    assert "| mosec | 1,234 (1.00) | 1,500 µs | 4.50 ms (1.00) |" in text
    assert "| the mix, 64 connections ÷ best peer (mosec) | 1.00 | ≥ 1.5 | 3 | no |" in text
    assert (
        "| 64 × gif | 34 | 17.0 ms | 1.0 ms | 30 ms | 2.0 ms | 60 × 200, 4 × 503 | 1.0 s |" in text
    )
    assert "- ray: It needs a \\| cluster." in text
    assert "Time by step" not in text


def test_failures_stand_in_the_place_of_a_rate() -> None:
    records = Records([Record("monday", 0, "mosec", "mix", "64", CLOSED | {"failed": 3702.0})])
    assert "| mosec | 50% failed |" in report.mix(records)


def test_steps_are_reported_where_the_service_counts_them() -> None:
    figures = CLOSED | {"decode_us": 700.0, "inference_us": 55.5}
    records = Records([Record("monday", 0, "digits", "mix", "1", figures)])
    assert "| the mix | 1,500 µs | 700 µs | 55.5 µs |" in report.steps(records)


def test_readme_has_six_rows() -> None:
    lines = report.readme(kept()).splitlines()
    assert len(lines) == 2 + 6
    assert lines[2].endswith("| 1,234/s | 1,234/s (mosec) | 1.00 |")


def test_only_the_place_between_the_markers_is_filled(tmp_path: Path) -> None:
    document = tmp_path / "benchmark.md"
    document.write_text(f"Before.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n")
    for figures in ("new", "newer"):
        report.fill(document, figures)
    filled = f"Before.\n\n{report.BEGIN}\n\nnewer\n\n{report.END}\n\nAfter.\n"
    assert document.read_text() == filled
    document.write_text("No markers.")
    with pytest.raises(ValueError, match="lacks the lines"):
        report.fill(document, "new")


def test_plot_is_drawn(tmp_path: Path) -> None:
    plot.draw(kept(), tmp_path / "benchmark.png")
    assert (tmp_path / "benchmark.png").stat().st_size > 5000
