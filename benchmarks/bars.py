"""From the medians of a run to the ratios that matter, each against the bar it is held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.wrk import Figures

CONNECTIONS = (1, 4, 16, 64, 256)
BUSY = 64
JSON_IMAGES = 64
JSON_CONNECTIONS = 8
"""Enough to keep every worker busy, however the kernel deals them out; the service refuses what
exceeds `DIGITS_MAX_WAITING_IMAGES`."""
BATCHES = (1, 16, 64)

Medians = dict[str, Figures]
"""Figures by `cell(…)`."""


def cell(server: str, version: str, case: str, connections: int | str = "") -> str:
    return f"{server}/{version}/{case}/{connections}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio, what it must be and what it should be; None where the run lacks a figure for it."""

    name: str
    value: float | None
    bar: float
    reach: float

    @property
    def more_is_better(self) -> bool:
        return self.reach > self.bar

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        sign = 1 if self.more_is_better else -1
        if sign * self.value >= sign * self.reach:
            return "reached"
        return "held" if sign * self.value >= sign * self.bar else "MISSED"


def best_peer(
    medians: Medians, version: str, case: str, connections: int | str, figure: str
) -> tuple[str, float] | None:
    """Name and figure of the best peer that answered, and answered every request."""
    more = figure == "requests_per_second"
    found = []
    for name, figures in medians.items():
        server, of, what, at = f"{name}///".split("/")[:4]
        mine = server in {"digits", "HTTP floor", "bare"}
        asked = (of, what, at) == (version, case, str(connections))
        if asked and not mine and not figures["failed"] and figures["p50_ms"]:
            found.append((server, figures[figure]))
    if not found:
        return None
    return (max if more else min)(found, key=lambda one: one[1])


def bars(medians: Medians, first: str, newest: str, cores: int) -> list[Bar]:
    """All of them, in the order of the README."""

    def get(key: str, figure: str = "requests_per_second") -> float | None:
        figures = medians.get(key, {})
        refused = figure == "requests_per_second" and figures.get("failed")
        return None if refused else figures.get(figure)  # a refusal is soon made

    def rival(
        version: str, case: str, at: int | str, figure: str = "requests_per_second"
    ) -> float | None:
        found = best_peer(medians, version, case, at, figure)
        return found[1] if found else None

    busy = cell("digits", newest, "png-28", BUSY)
    canvas = cell("digits", newest, "canvas-280", BUSY)
    alone = cell("digits", newest, "png-28", 1)
    steady = cell("digits", newest, "open", "half")
    bare = [cell("bare", newest, "compute", batch) for batch in BATCHES]
    floor = cell("HTTP floor", newest, "png-28", BUSY)
    http, driver = get(floor, "core_ms"), get(floor, "driver_ms")
    compute = min((ms for key in bare if (ms := get(key, "core_ms"))), default=None)
    json = get(cell("digits", newest, "json-64", JSON_CONNECTIONS))
    return [
        Bar(
            f"28×28 PNG, {BUSY} connections, version {first} ÷ best peer on version {first}",
            ratio(get(cell("digits", first, "png-28", BUSY)), rival(first, "png-28", BUSY)),
            1.0, 1.1,
        ),
        Bar(
            f"… version {newest}, which ships ÷ best peer on version {first}",
            ratio(get(busy), rival(first, "png-28", BUSY)),
            2.0, 4.0,
        ),
        Bar(
            f"… version {newest} ÷ best peer on version {newest}",
            ratio(get(busy), rival(newest, "png-28", BUSY)),
            1.0, 1.3,
        ),
        Bar(
            "280×280 canvas, normalized ÷ best peer, which only resizes",
            ratio(get(canvas), rival(newest, "canvas-280", BUSY)),
            1.0, 1.5,
        ),
        Bar(
            "p50 at one connection ÷ best peer's",
            ratio(get(alone, "p50_ms"), rival(newest, "png-28", 1, "p50_ms")),
            0.8, 0.5,
        ),
        Bar(
            "p99 at half the best peer's peak rate ÷ best peer's",
            ratio(get(steady, "p99_ms"), rival(newest, "open", "half", "p99_ms")),
            0.6, 0.3,
        ),
        Bar(
            "throughput ÷ what the two floors allow",
            ratio(get(busy), allowed(cores, http, compute)),
            0.8, 0.95,
        ),
        Bar(
            "… where the driver has its share of the cores, too",
            ratio(get(busy), allowed(cores, http, compute, driver)),
            0.8, 0.95,
        ),
        Bar(
            "images/s in JSON batches of 64 ÷ bare signature at batch 64",
            ratio(json and json * JSON_IMAGES, get(bare[-1], "images_per_second")),
            0.8, 0.95,
        ),
        Bar(
            "fall after the peak, from 1 to 256 connections",
            fall([get(cell("digits", newest, "png-28", n)) for n in CONNECTIONS]),
            0.10, 0.05,
        ),
        Bar(
            "memory of one worker ÷ bare TensorFlow with the model",
            ratio(
                get(cell("digits", newest, "process"), "megabytes"),
                get(cell("bare", newest, "process"), "megabytes"),
            ),
            1.25, 1.1,
        ),
        Bar(
            "start to first answer ÷ bare import and load",
            ratio(
                get(cell("digits", newest, "process"), "seconds"),
                get(cell("bare", newest, "process"), "seconds"),
            ),
            1.3, 1.1,
        ),
    ]  # fmt: skip


def ratio(mine: float | None, other: float | None) -> float | None:
    return mine / other if mine and other else None


def allowed(cores: int, *milliseconds: float | None) -> float | None:
    """Requests a second that floors allow together: the cores over what a request costs of a core
    in all of them."""
    known = [one for one in milliseconds if one]
    return 1000 * cores / sum(known) if len(known) == len(milliseconds) else None


def fall(rates: list[float | None]) -> float | None:
    """By how much the rate falls, at most, once it was at its peak."""
    known = [rate for rate in rates if rate]
    if len(known) != len(rates):
        return None
    peak = max(known)
    return 1 - min(known[known.index(peak) :]) / peak


def table(found: list[Bar], shown: Callable[[float], str] = "{:.2f}".format) -> str:
    """As Markdown."""
    lines = ["| | here | bar | reach for | |", "| --- | --- | --- | --- | --- |"]
    for one in found:
        sign = "≥" if one.more_is_better else "≤"
        value = "" if one.value is None else shown(one.value)
        lines.append(f"| {one.name} | {value} | {sign} {one.bar} | {one.reach} | {one.verdict} |")
    return "\n".join(lines)
