"""What the metrics count, beside what clients say was answered; `benchmarks.counters` at length."""

from __future__ import annotations

from pathlib import Path

from benchmarks.counters import counted, run, workers
from tests.faults.server import serving, wait_until


def test_counters_are_what_was_answered_after_a_worker_was_killed(
    stand_in_models: Path, tmp_path: Path
) -> None:
    with serving(stand_in_models, tmp_path / "log", workers=2) as server:
        wait_until(lambda: len(workers(server)) == 2)
        first = workers(server)
        before = counted(server)
        answers, broken = run(server, 3000)
        assert answers.total() == 3000
        assert len(answers) >= 6
        assert broken > 0

        def difference() -> int:
            found = counted(server) - before
            return (answers - found).total() + (found - answers).total()

        # Each broken connection may have had an answer on its way.
        wait_until(lambda: difference() <= broken)
        wait_until(lambda: len(workers(server)) == 2 and workers(server) != first)
        assert difference() <= broken
