"""Ratios are taken between servers of the same round, and kept figures are replaced or kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bars
from benchmarks.bars import BUSY, RATE, Bar
from benchmarks.records import Record, Records


def record(
    server: str,
    rate: float,
    *,
    number: int = 0,
    case: str = "mix",
    load: str = "64",
    failed: float = 0,
    run: str = "monday",
) -> Record:
    """Return a closed-loop measurement."""
    figures = {RATE: rate, "requests": rate * 3, "p50_ms": 1000 / rate, "failed": failed}
    return Record(run, number, server, case, load, figures)


def records(*found: Record) -> Records:
    return Records([*found])


def test_ratio_is_the_median_of_ratios_within_rounds() -> None:
    kept = records(
        *(record("digits", rate, number=n) for n, rate in enumerate([100, 300, 200])),
        *(record("mosec", rate, number=n) for n, rate in enumerate([50, 100, 50])),
    )
    assert kept.ratio("mix", BUSY, RATE, to="mosec") == 3  # of 2, 3 and 4
    assert kept.median("digits", "mix", BUSY, RATE) == 200


def test_rounds_of_different_runs_are_not_compared() -> None:
    kept = records(record("digits", 300), record("mosec", 100, run="tuesday"))
    assert kept.ratio("mix", BUSY, RATE, to="mosec") is None
    kept.add(record("digits", 200, run="tuesday"))
    assert kept.ratio("mix", BUSY, RATE, to="mosec") == 2


def test_best_peer_is_the_hardest_to_beat() -> None:
    kept = records(record("digits", 300), record("mosec", 100), record("ray", 200))
    assert kept.best_peer("mix", BUSY, RATE) == ("ray", 1.5)
    peer, ratio = kept.best_peer("mix", BUSY, "p50_ms") or ("", 0)
    assert peer == "ray"
    assert ratio == pytest.approx(2 / 3)
    assert kept.best_peer("canvas", BUSY, RATE) is None


@pytest.mark.parametrize("answered", [0, 9000], ids=["no answers", "refusals"])
def test_a_peer_that_fails_is_not_the_best(answered: float) -> None:
    fast = record("bentoml", max(answered, 1), failed=10)
    fast.figures["requests"] = answered
    kept = records(record("digits", 300), fast, record("ray", 200))
    assert kept.best_peer("mix", BUSY, RATE) == ("ray", 1.5)


def test_a_rare_failure_is_borne() -> None:
    assert not record("ray", 1000, failed=3).has_failed
    assert record("ray", 1000, failed=4).has_failed


def test_floors_are_no_peers() -> None:
    kept = records(record("digits", 1), record("http-floor", 9), record("bare", 9))
    assert kept.peers() == []


def test_service_is_kept_for_the_peers_of_other_runs() -> None:
    kept = records(
        record("digits", 1),
        record("ray", 1),
        record("mosec", 1),
        record("digits", 1, case="canvas"),
    )
    kept.drop_compared("mix", {"digits", "mosec"})
    assert [r.server for r in kept if r.case == "mix"] == ["digits", "ray"]
    kept.drop_compared("mix", {"digits", "ray"})
    assert [(r.server, r.case) for r in kept] == [("digits", "canvas")]


def test_one_load_of_a_case_is_dropped() -> None:
    kept = records(record("digits", 1), record("digits", 1, load="1"))
    kept.drop("mix", {"digits"}, "1")
    assert [r.load for r in kept] == ["64"]


def test_figures_survive_their_file(tmp_path: Path) -> None:
    kept = records(record("digits", 300), record("mosec", 100))
    kept.notes["ray"] = "No answer."
    kept.runs |= {"monday": {"machine": "a processor"}, "sunday": {"machine": "another"}}
    kept.save(tmp_path / "figures.json", bars={"the mix": 3.0})
    read = Records.read(tmp_path / "figures.json")
    assert (read.records, read.notes) == (kept.records, kept.notes)
    assert read.runs == {"monday": {"machine": "a processor"}}  # nothing is left of sunday's
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_every_bar_has_its_value() -> None:
    kept = records(
        record("digits", 300),
        record("mosec", 100),
        record("digits", 20, case="json-64", load="8"),
        Record("monday", 0, "bare", "json-64", "", {"images_per_second": 1000.0}),
        Record("monday", 0, "digits", "process", "", {"megabytes": 550.0, "seconds": 4.0}),
        Record("monday", 0, "bare", "process", "", {"megabytes": 500.0, "seconds": 5.0}),
        Record("monday", 0, "digits", "worst", "1 × gif", {"health_worst_ms": 12.0}),
        Record("monday", 0, "digits", "worst", "64 × gif", {"health_worst_ms": 61.0}),
        Record(
            "monday", 0, "digits", "memory", "", {"peak_gigabytes": 2.0, "after_gigabytes": 1.0}
        ),
        Record("monday", 0, "digits", "overload", "", {"goodput_share": 0.95, "wrong_or_lost": 0}),
    )
    found = {bar.name: (bar.value, bar.verdict) for bar in bars.bars(kept) if bar.value is not None}
    assert found == {
        "the mix, 64 connections ÷ best peer": (3, "reached"),
        "JSON batches of 64 ÷ bare signature": (1.28, "yes"),
        "memory of a worker ÷ bare TensorFlow": (1.1, "yes"),
        "start ÷ bare TensorFlow's": (0.8, "reached"),
        "worst `/healthz` under a legal request, and 64 of it": (61, "no"),
        "memory of two workers under attack, peak": (2.0, "yes"),
        "… a minute after": (1.0, "reached"),
        "goodput at twice the peak ÷ peak": (0.95, "yes"),
        "… wrong or lost answers": (0, "reached"),
    }
    assert all(bar.verdict == "not measured" for bar in bars.bars(Records()))


def test_table_says_which_bars_hold() -> None:
    more = Bar("more", 1.1, 1.0, 1.3, peer="mosec")
    less = Bar("less", 60.0, 50, 20, unit="ms", more_is_better=False)
    assert bars.table([more, less]).splitlines()[2:] == [
        "| more (mosec) | 1.10 | ≥ 1 | 1.3 | yes |",
        "| less | 60.00 ms | ≤ 50 ms | 20 ms | no |",
    ]
