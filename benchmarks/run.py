"""A run of the benchmarks: servers take turns, round after round, on every kind of request.

Every server is started once and sleeps (SIGSTOP) while another is measured. In the first round all
peers are measured with everything; the later rounds are among the service, the floors and the peers
that are the hardest to beat by some figure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import answers, bodies, floods, mix, overload, servers, stress, worst, wrk
from benchmarks.bars import BUSY, HALF, JSON_CONNECTIONS, JSON_IMAGES, PHOTO_CONNECTIONS, RATE
from benchmarks.bodies import Body
from benchmarks.digits import Digits
from benchmarks.mix import Picture
from benchmarks.openloop import OpenLoop
from benchmarks.peers.catalog import Peer
from benchmarks.records import DIGITS, Record, Records
from benchmarks.servers import Bare, Server
from benchmarks.wrk import Figures

CLOSED = {
    "mix": (BUSY, 1),
    "canvas": (BUSY,),
    "large-photo": (PHOTO_CONNECTIONS,),
    "png-28": (BUSY, 1),
    "json-64": (JSON_CONNECTIONS,),
}
"""Numbers of connections with which each case is measured in a closed loop."""
LONGER = {"mix": 2.0, "large-photo": 2.0}
"""Cases of few requests a second, which are measured for longer."""
STEADY = ("mix", "png-28")
"""Cases measured at half of the best peer's peak."""
PARTS = (*CLOSED, "steady", "curves", "process", "worst", "overload")
LOADS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05)
"""Offered rates of the plot, as shares of the best server's peak on the mix."""
KEPT_UP = 0.9
"""A server that answers less than this share of what is offered is past its peak."""
RIVALS = 2
"""Peers beside the service whose curves are drawn."""
MIX_BLOCKS = 4
PICTURES = 20
"""Distinct pictures of a case of one kind; of large photos a quarter."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, how often and for how long.

    Attributes:
        models: Folder of the version folders.
        version: The version that every server has.
        parts: Of `PARTS`.
        rounds: Rounds of everything that compares servers.
        seconds: Of a measurement; some cases take longer (`LONGER`).
        worst_counts: Clients that send a worst request at once.
        worst_cases: Names of `worst.CASES`.
        overload_seconds: Of the open loop at twice the peak.
        seed: Of every picture.
    """

    models: Path
    version: str
    parts: Sequence[str] = PARTS
    rounds: int = 3
    seconds: float = 3
    worst_counts: Sequence[int] = (1, 64)
    worst_cases: Sequence[str] = tuple(case.name for case in worst.CASES)
    overload_seconds: float = 60
    seed: int = 15

    @property
    def model(self) -> Path:
        """The folder of the version."""
        return self.models / self.version


@dataclass(slots=True)
class Pictures:
    """The images of each case, drawn once for all servers."""

    digits: Digits
    seed: int
    _drawn: dict[str, list[Picture]] = field(default_factory=dict)

    def of(self, case: str) -> list[Picture]:
        """Return the pictures of a case in the order in which they are sent."""
        if case not in self._drawn:
            self._drawn[case] = self._draw(case)
        return self._drawn[case]

    def _draw(self, case: str) -> list[Picture]:
        if case == "mix":
            return mix.draw_mix(self.digits, blocks=MIX_BLOCKS, seed=self.seed)
        count = PICTURES // 4 if case == "large-photo" else PICTURES
        return mix.draw(self.digits, case, count=count, rng=np.random.default_rng(self.seed))


class Run:
    """Measures by a plan, and keeps the figures; `save` is called after every one of them."""

    def __init__(
        self, plan: Plan, digits: Digits, records: Records, *, cores: int, save: Callable[[], None]
    ) -> None:
        """Measure on top of the records of earlier runs.

        Args:
            plan: What to measure.
            digits: From which the pictures are drawn.
            records: Receives the measurements.
            cores: Processes and threads of the floors.
            save: Called after each measurement.
        """
        self.plan = plan
        self.records = records
        self.cores = cores
        self.save = save
        self.name = time.strftime("%Y-%m-%d %H:%M:%S")
        self.pictures = Pictures(digits, plan.seed)
        self.first_file = mix.encode(digits.images[0], ".png")

    def measure(self, peers: Sequence[Peer]) -> None:
        """Measure every part of the plan."""
        parts = {*self.plan.parts}
        if "process" in parts:
            self._process()
        if parts & {*CLOSED, "steady", "curves"}:
            self._compare(peers)
        if "worst" in parts:
            self._worst()
        if "overload" in parts:
            self._overload()

    # -- the service and its peers

    def _compare(self, peers: Sequence[Peer]) -> None:
        with self._started(peers) as started, self._floors() as floors:
            cases = [case for case in CLOSED if case in self.plan.parts]
            for case in cases:
                self.records.drop_compared(case, {server.name for server in started})
            racing = started
            for number in range(self.plan.rounds):
                for case in cases:
                    self._case(case, number, [*racing, *floors])
                if number == 0:
                    racing = self._finalists(started)
            if "steady" in self.plan.parts:
                self._steady(racing)
            if "curves" in self.plan.parts:
                self._curves(racing)

    @contextmanager
    def _started(self, peers: Sequence[Peer]) -> Iterator[list[Server]]:
        """Start the service and the peers, check their answers and warm them."""
        plan, file = self.plan, self.first_file
        with ExitStack() as stack:
            start = [servers.digits(plan.models, plan.version, file)]
            start += [servers.peer(peer, plan.model, file) for peer in peers]
            names = [DIGITS, *(peer.name for peer in peers)]
            ready = []
            for name, starting in zip(names, start, strict=True):
                try:
                    server = stack.enter_context(starting)
                    self._prepare(server)
                except (OSError, ValueError, answers.WrongAnswersError) as error:
                    self._note(name, str(error))
                    if name == DIGITS:
                        raise
                else:
                    ready.append(server)
            yield ready

    def _prepare(self, server: Server) -> None:
        """Check a server's answers; record its memory and how it reads the mix."""
        with server.awake():
            answers.check_golden(server, self.plan.model)
            pictures = self.pictures.of("mix")[: mix.BLOCK]
            right = answers.share_of_right(server, pictures)
            wrk.drive(server.url, self._bodies(server, "canvas"), connections=BUSY, seconds=1)
            self.records.notes.pop(server.name, None)
            self.records.drop("server", {server.name})
            self._record(
                server.name,
                "server",
                "",
                {
                    "megabytes": server.megabytes(),
                    "right_share": right,
                    "start_seconds": server.first_answer_seconds,
                },
            )

    @contextmanager
    def _floors(self) -> Iterator[list[Server]]:
        """Start the HTTP floor; bare TensorFlow joins the rounds of JSON batches."""
        with ExitStack() as stack:
            floors = []
            if "png-28" in self.plan.parts:
                floors.append(stack.enter_context(servers.floor(self.first_file, self.cores)))
                self.records.drop("png-28", {"http-floor"})
            self._bare: Bare | None = None
            if "json-64" in self.plan.parts:
                images = self.pictures.digits.images[:JSON_IMAGES]
                self._bare = stack.enter_context(servers.bare(self.plan.model, images))
                self.records.drop("json-64", {"bare"})
            yield floors

    def _case(self, case: str, number: int, racing: Sequence[Server]) -> None:
        """Measure a case of a round; the servers take turns."""
        for connections in CLOSED[case]:
            for server in racing:
                if server.name == "http-floor" and case != "png-28":
                    continue
                if case == "json-64" and server.json_path is None:
                    continue
                self._closed(server, case, connections, number)
        if case == "json-64" and self._bare:
            figures = self._bare.measure(self.cores, JSON_IMAGES, self.plan.seconds)
            self._record("bare", case, "", figures, number)

    def _closed(self, server: Server, case: str, connections: int, number: int) -> None:
        """Measure a server with so many connections; `core_us` is its CPU time for a request."""
        url = server.address + (server.json_path or "") if case == "json-64" else server.url
        sent = self._bodies(server, case)
        seconds = self.plan.seconds * (LONGER.get(case, 1.0) if connections > 1 else 1.0)
        try:
            with server.awake():
                steps = self._steps(server)
                spent = -server.core_seconds()
                figures = wrk.drive(url, sent, connections=connections, seconds=seconds)
                spent += server.core_seconds()
                answered = max(1.0, figures["requests"])
                figures["core_us"] = 1e6 * spent / answered
                for step, before in steps.items():
                    passed = self._steps(server).get(step, before) - before
                    figures[f"{step}_us"] = 1e6 * passed / answered
        except (OSError, ValueError) as error:
            self._note(server.name, f"{case}: {error}")
            return
        self._record(server.name, case, connections, figures, number)

    def _steps(self, server: Server) -> dict[str, float]:
        if server.name != DIGITS:
            return {}
        return servers.step_seconds(server.get("/metrics"))

    def _bodies(self, server: Server, case: str) -> list[Body]:
        if case == "json-64":
            return [bodies.arrays(self.pictures.digits.images[:JSON_IMAGES], JSON_IMAGES)]
        return [server.form(picture.file) for picture in self.pictures.of(case)]

    def _finalists(self, started: Sequence[Server]) -> list[Server]:
        """Return the service and those peers that are the hardest to beat by some figure."""
        names = {DIGITS, *self._rivals()}
        for case, loads in CLOSED.items():
            for connections in loads:
                figure = "p50_ms" if connections == 1 else RATE
                if found := self.records.best_peer(case, connections, figure):
                    names.add(found[0])
        return [server for server in started if server.name in names]

    def _rivals(self) -> list[str]:
        """Return the peers with the highest rates on the mix."""
        rates = {
            peer: rate
            for peer in self.records.peers()
            if (rate := self.records.median(peer, "mix", BUSY, RATE)) is not None
        }
        return sorted(rates, key=lambda peer: -rates[peer])[:RIVALS]

    def _steady(self, racing: Sequence[Server]) -> None:
        """Measure everyone at half of the rate of the best peer, in an open loop."""
        for case in STEADY:
            self.records.drop(case, {DIGITS, *self.records.peers()}, HALF)
            found = self.records.best_peer(case, BUSY, RATE)
            peak = found and self.records.median(found[0], case, BUSY, RATE)
            if not peak:
                continue
            for number in range(self.plan.rounds):
                for server in racing:
                    self._open(server, case, HALF, peak / 2, number)

    def _curves(self, racing: Sequence[Server]) -> None:
        """Measure the service and its rivals at rising rates, each to where it can't keep up."""
        self.records.drop("curve", {DIGITS, *self.records.peers()})
        names = [DIGITS, *self._rivals()]
        peaks = [self.records.median(name, "mix", BUSY, RATE) for name in names]
        highest = max((peak for peak in peaks if peak), default=0.0)
        for server in racing:
            if server.name not in names:
                continue
            for share in LOADS:
                figures = self._open(server, "curve", f"{share:g}", share * highest, 0)
                if not figures or (
                    figures["answered_per_second"] < KEPT_UP * figures["offered_per_second"]
                ):
                    break

    def _open(self, server: Server, case: str, load: str, rate: float, number: int) -> Figures:
        sent = self._bodies(server, "mix" if case == "curve" else case)
        seconds = self.plan.seconds * LONGER.get(case, 1.0)
        try:
            with server.awake():
                figures = OpenLoop(server.url, sent).run(rate=rate, seconds=seconds)
        except (OSError, ValueError) as error:
            self._note(server.name, f"{case}: {error}")
            return {}
        self._record(server.name, case, load, figures, number)
        return figures

    # -- the service alone

    def _process(self) -> None:
        """Measure start and memory of one worker and of bare TensorFlow, each alone."""
        plan = self.plan
        self.records.drop("process", {DIGITS, "bare"})
        for number in range(plan.rounds):
            with servers.bare(plan.model, self.pictures.digits.images) as bare:
                figures = {"seconds": bare.loaded_seconds, "megabytes": bare.megabytes()}
                self._record("bare", "process", "", figures, number)
            alone = {"DIGITS_WORKERS": "1"}
            with servers.digits(plan.models, plan.version, self.first_file, **alone) as server:
                figures = {"seconds": server.first_answer_seconds, "megabytes": server.megabytes()}
                self._record(DIGITS, "process", "", figures, number)

    def _worst(self) -> None:
        """Send the worst legal requests, then floods; watch `/healthz` and memory."""
        plan = self.plan
        chosen = [case for case in worst.CASES if case.name in plan.worst_cases]
        workers = {"DIGITS_WORKERS": str(stress.WORKERS)}
        with (
            servers.digits(plan.models, plan.version, self.first_file, **workers) as server,
            server.awake(),
            stress.probing(server) as probes,
            stress.MemorySampler(server) as sampler,
        ):
            for case in chosen:
                body = stress.make_body(server, case)
                for count in plan.worst_counts:
                    self._stressed(server, probes, f"{count} × {case.name}", body, count)
            if len(chosen) < len(worst.CASES):
                return  # memory is that of all together
            self._floods(server, probes)
            self.records.drop("memory", {DIGITS})
            self._record(DIGITS, "memory", "", stress.memory_figures(sampler))

    def _stressed(
        self, server: Server, probes: stress.Probes, load: str, body: Body, count: int
    ) -> None:
        """Send a body on so many connections at once, and wait until the server is done."""
        outcome = stress.measure(
            probes, lambda: stress.send_together(server.port, server.path, body, count)
        )
        self.records.drop("worst", {DIGITS}, load)
        size = {"body_bytes": float(len(body.data))}
        self._record(DIGITS, "worst", load, size | outcome.record())
        server.settle()

    def _floods(self, server: Server, probes: stress.Probes) -> None:
        """Send what is not legal, but must be borne."""
        self.records.drop("flood", {DIGITS})
        for name, send in floods.FLOODS.items():
            outcome = stress.measure(probes, partial(send, server.port))
            self._record(DIGITS, "flood", name, outcome.record())
            server.settle()

    def _overload(self) -> None:
        """Send twice the peak to the service."""
        plan = self.plan
        self.records.drop("overload", {DIGITS})
        with (
            servers.digits(plan.models, plan.version, self.first_file) as server,
            server.awake(),
        ):
            peak_seconds = min(overload.PEAK_SECONDS, plan.overload_seconds)
            found = overload.run(server.address, plan.overload_seconds, peak_seconds)
            statuses = {f"status_{s}": float(n) for s, n in found.outcomes.items()}
            self._record(DIGITS, "overload", "", found.figures | statuses)

    def _record(
        self, server: str, case: str, load: str | int, figures: Figures, number: int = 0
    ) -> None:
        self.records.add(Record(self.name, number, server, case, str(load), figures))
        shown = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
        print(f"{server:10} {case:12} {load!s:8} {shown}", flush=True)
        self.save()

    def _note(self, server: str, reason: str) -> None:
        print(f"{server}: {reason}", file=sys.stderr, flush=True)
        self.records.notes[server] = reason[-400:]
        self.save()
