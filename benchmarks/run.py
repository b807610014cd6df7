"""One run of the benchmarks: which servers are measured how, and every figure of it."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import bodies, servers, wrk
from benchmarks.bars import (
    BATCHES,
    BUSY,
    CONNECTIONS,
    JSON_CONNECTIONS,
    JSON_IMAGES,
    Medians,
    best_peer,
    cell,
)
from benchmarks.bodies import Body
from benchmarks.openloop import OpenLoop
from benchmarks.peers.catalog import Peer
from benchmarks.servers import Server
from benchmarks.wrk import Figures

RATE = "requests_per_second"
FASTEST = 2
LOADS = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0, 1.1)
"""Offered rates of the plot, as shares of the best server's peak."""
KEPT_UP = 0.9
"""A server that answers less than this share of what is offered is past its peak."""


class Run:
    """Figures by cell, round by round; how often and how long each is measured."""

    def __init__(
        self, models: Path, version: str, *, rounds: int, seconds: int, cores: int
    ) -> None:
        self.models = models
        self.version = version
        self.images = bodies.digits(models / version)
        self.file = bodies.png(self.images[0])
        self.rounds = rounds
        self.seconds = seconds
        self.cores = cores
        self.figures: dict[str, list[Figures]] = {}
        self.curves: dict[str, list[Figures]] = {}

    @property
    def medians(self) -> Medians:
        return {
            key: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            for key, rounds in self.figures.items()
        }

    def record(self, key: str, figures: Figures) -> None:
        self.figures.setdefault(key, []).append(figures)
        shown = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
        print(f"{key:34} {shown}", flush=True)

    def first_version(self, version: str, peers: Iterable[Peer]) -> None:
        """The service and every peer on the same, older model."""
        with self._sitting(version, peers) as started:
            for _ in range(self.rounds):
                for server in started:
                    self._uploads(server, version)
            for server in started:
                self._memory(server, version)

    def finalists(self, version: str, peers: Iterable[Peer]) -> list[Peer]:
        """The few that could be the best by any figure."""
        medians = self.medians
        rates = {
            one.name: medians[key][RATE]
            for one in peers
            if (key := cell(one.name, version, "png-28", BUSY)) in medians
        }
        names = sorted(rates, key=lambda name: -rates[name])[:FASTEST]
        for case, connections, figure in (("png-28", 1, "p50_ms"), ("canvas-280", BUSY, RATE)):
            if best := best_peer(medians, version, case, connections, figure):
                names.append(best[0])
        return [one for one in peers if one.name in names]

    def shipped(self, peers: Iterable[Peer]) -> None:
        """What ships, its floors and the best peers, at all kinds of load."""
        version = self.version
        with (
            self._sitting(version, peers) as started,
            servers.floor(self.file) as floor,
            servers.bare(self.models / version, self.images) as bare,
        ):
            for _ in range(self.rounds):
                for server in (*started, floor):
                    self._uploads(server, version)
                    self._batches(server, version)
                for connections in sorted({*CONNECTIONS} - {1, BUSY}):
                    self._closed(started[0], version, "png-28", connections)
                for batch in BATCHES:
                    figures = bare.measure(self.cores, batch, self.seconds)
                    self.record(cell("bare", version, "compute", batch), figures)
            self._steady(started, version)
            self._curves(started, version)

    def process(self) -> None:
        """Memory and start, of one worker of the service and of bare TensorFlow, each alone."""
        version = self.version
        for _ in range(self.rounds):
            with servers.bare(self.models / version, self.images) as bare:
                figures = {"seconds": bare.loaded_seconds, "megabytes": bare.megabytes()}
                self.record(cell("bare", version, "process"), figures)
            alone = {"DIGITS_WORKERS": "1"}
            with servers.digits(self.models, version, self.file, **alone) as server:
                figures = {"seconds": server.first_answer_seconds, "megabytes": server.megabytes()}
                self.record(cell("digits", version, "process"), figures)

    @contextmanager
    def _sitting(self, version: str, peers: Iterable[Peer]) -> Iterator[list[Server]]:
        """The servers of one version of the model, of one mind and warm; the service first."""
        model, file = self.models / version, self.file
        with ExitStack() as stack:
            started = [stack.enter_context(servers.digits(self.models, version, file))]
            for one in peers:
                try:
                    started.append(stack.enter_context(servers.peer(one, model, file)))
                except OSError as error:
                    print(error, file=sys.stderr)
            given = [self._prepare(server) for server in started]
            for server, answers in zip(started, given, strict=True):
                if wrong := servers.disagreements(given[0], answers):
                    raise SystemExit(f"{server.name} answers otherwise than the service: {wrong}.")
            yield started

    def _prepare(self, server: Server) -> servers.Answers:
        """Its answers, before it is timed; and it is warm."""
        with server.awake():
            answers = servers.answers(server, self.images)
            sent = self._upload(server, "png-28")
            wrk.drive(server.url, sent, connections=BUSY, seconds=1)
            return answers

    def _upload(self, server: Server, case: str) -> list[Body]:
        shown = map(bodies.canvas, self.images) if case == "canvas-280" else self.images
        return [server.form(bodies.png(image)) for image in shown]

    def _closed(
        self,
        server: Server,
        version: str,
        case: str,
        connections: int,
        sent: list[Body] | None = None,
    ) -> None:
        sent = sent or self._upload(server, case)
        with server.awake():
            spent = -server.core_seconds()
            figures = wrk.drive(server.url, sent, connections=connections, seconds=self.seconds)
            spent += server.core_seconds()
        requests = max(1.0, figures[RATE] * self.seconds)
        figures["core_ms"] = 1000 * spent / requests
        self.record(cell(server.name, version, case, connections), figures)

    def _uploads(self, server: Server, version: str) -> None:
        self._closed(server, version, "png-28", 1)
        self._closed(server, version, "png-28", BUSY)
        self._closed(server, version, "canvas-280", BUSY)

    def _batches(self, server: Server, version: str) -> None:
        if server.json_path:
            body = bodies.arrays(self.images, JSON_IMAGES)
            asked = replace(server, path=server.json_path)
            self._closed(asked, version, "json-64", JSON_CONNECTIONS, [body])

    def _memory(self, server: Server, version: str) -> None:
        self.record(cell(server.name, version, "memory"), {"megabytes": server.megabytes()})

    def _steady(self, started: list[Server], version: str) -> None:
        """Everyone at the rate that is half of what the best peer can do."""
        best = best_peer(self.medians, version, "png-28", BUSY, RATE)
        if best is None:
            return
        for _ in range(self.rounds):
            for server in started:
                figures = self._open(server, version, best[1] / 2)
                self.record(cell(server.name, version, "open", "half"), figures)

    def _curves(self, started: list[Server], version: str) -> None:
        """Each server at rising rates, up to where it can't keep up."""
        peaks = [self.medians[cell(s.name, version, "png-28", BUSY)][RATE] for s in started]
        for server in started:
            points = self.curves.setdefault(f"{server.name} (version {version})", [])
            for share in LOADS:
                points.append(self._open(server, version, share * max(peaks)))
                if points[-1]["answered_per_second"] < KEPT_UP * points[-1]["offered_per_second"]:
                    break

    def _open(self, server: Server, version: str, rate: float) -> Figures:
        with server.awake():
            loop = OpenLoop(server.url, self._upload(server, "png-28"))
            return loop.run(rate=rate, seconds=self.seconds)
