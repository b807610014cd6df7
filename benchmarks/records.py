"""The figures of a run: every measurement with its round, and ratios between servers by round."""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.wrk import Figures

DIGITS = "digits"
FLOORS = ("http-floor", "bare")
FAILURES_ALLOWED = 0.001
"""Share of requests that may fail; above it a figure is no figure: a refusal is soon made."""


@dataclass(frozen=True, slots=True)
class Record:
    """A measurement of a server.

    Attributes:
        run: Start time of the program's run that measured it.
        round: Number of the round in that run; servers of a round took turns.
        server: `digits`, a peer's name, or a floor's.
        case: What was sent or done, such as `mix`.
        load: How, such as the number of connections.
        figures: What was measured, by name with unit.
    """

    run: str
    round: int
    server: str
    case: str
    load: str
    figures: Figures

    @property
    def has_failed(self) -> bool:
        """Whether too many requests went unanswered for the figures to count."""
        failed, answered = self.figures.get("failed", 0), self.figures.get("requests", 1)
        return failed > FAILURES_ALLOWED * (failed + answered) or answered == 0


@dataclass(slots=True)
class Records:
    """All measurements.

    Attributes:
        records: In order.
        notes: Why a server lacks some, by its name.
        runs: How each run measured: the machine, the commit, the source of the pictures.
    """

    records: list[Record] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    runs: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Keep a measurement."""
        self.records.append(record)

    def drop(self, case: str, servers: Collection[str], load: str | None = None) -> None:
        """Forget what earlier runs have of a case and of these servers: it is measured anew.

        Args:
            case: The case.
            servers: Names of servers.
            load: Of this load only; None drops every load.
        """
        self.records = [
            record
            for record in self.records
            if record.case != case
            or record.server not in servers
            or (load is not None and record.load != load)
        ]

    def drop_compared(self, case: str, servers: Collection[str]) -> None:
        """Forget these peers' figures of a case, and the service's that no other peer is left for.

        Peers can so be measured in several runs, each beside the service.
        """
        self.drop(case, {server for server in servers if server != DIGITS})
        runs = {
            record.run
            for record in self.records
            if record.case == case and record.server not in (DIGITS, *FLOORS)
        }
        self.records = [
            record for record in self.records if record.case != case or record.run in runs
        ]

    def of(self, server: str, case: str, load: str | int = "") -> list[Record]:
        """Return a server's measurements of a case, in order."""
        key = (server, case, str(load))
        return [record for record in self.records if _key(record) == key]

    def of_case(self, server: str, case: str) -> list[Record]:
        """Return a server's measurements of a case at every load, in order."""
        return [record for record in self.records if (record.server, record.case) == (server, case)]

    def median(self, server: str, case: str, load: str | int, figure: str) -> float | None:
        """Return the median over the rounds; None where there is none or requests failed."""
        values = [
            record.figures[figure]
            for record in self.of(server, case, load)
            if figure in record.figures and not record.has_failed
        ]
        return statistics.median(values) if values else None

    def ratio(
        self, case: str, load: str | int, figure: str, *, of: str = DIGITS, to: str
    ) -> float | None:
        """Return the median over shared rounds of one server's figure ÷ another's."""
        mine = {(record.run, record.round): record for record in self.of(of, case, load)}
        ratios = []
        for other in self.of(to, case, load):
            record = mine.get((other.run, other.round))
            if record is None or record.has_failed or other.has_failed:
                continue
            if other.figures.get(figure) and figure in record.figures:
                ratios.append(record.figures[figure] / other.figures[figure])
        return statistics.median(ratios) if ratios else None

    def best_peer(self, case: str, load: str | int, figure: str) -> tuple[str, float] | None:
        """Return the peer that is hardest to beat, and the ratio of the service's figure to its.

        Of rates the hardest peer gives the least ratio, of latencies the greatest.
        """
        ratios = [
            (peer, ratio)
            for peer in self.peers()
            if (ratio := self.ratio(case, load, figure, to=peer)) is not None
        ]
        if not ratios:
            return None
        hardest = min if figure.endswith("per_second") else max
        return hardest(ratios, key=lambda found: found[1])

    def peers(self) -> list[str]:
        """Return the names of the peers that were measured, in order."""
        names = dict.fromkeys(record.server for record in self.records)
        return [name for name in names if name not in (DIGITS, *FLOORS)]

    def runs_left(self) -> dict[str, dict[str, str]]:
        """Return the runs of which a measurement is left."""
        names = {record.run for record in self.records}
        return {name: how for name, how in self.runs.items() if name in names}

    def save(self, path: Path, **more: Any) -> None:
        """Write everything as JSON, whole or not at all."""
        document = more | {
            "runs": self.runs_left(),
            "notes": self.notes,
            "records": [asdict(record) for record in self.records],
        }
        written = path.with_suffix(".part")
        written.write_text(json.dumps(document, indent=1) + "\n")
        written.replace(path)

    @classmethod
    def read(cls, path: Path) -> Records:
        """Return the measurements of a file that `save` wrote."""
        document = json.loads(path.read_text())
        records = [Record(**record) for record in document["records"]]
        return cls(records, document["notes"], document["runs"])

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


def _key(record: Record) -> tuple[str, str, str]:
    return record.server, record.case, record.load
