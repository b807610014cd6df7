"""The bars: each ratio that the service is held to, its value in a run, and whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records import DIGITS, Records

BUSY = 64
JSON_IMAGES = 64
JSON_CONNECTIONS = 8
"""Enough to keep every worker busy, few enough that none refuses."""
PHOTO_CONNECTIONS = 4
"""Twice the cores: more would be unanswered at the end of a measurement, and go uncounted."""
HALF = "half of the best peer's peak"
LATENCY_CASES = ("mix", "png-28")
"""Latency is held to its bar on each; the bar shows the worse."""
RATE = "requests_per_second"


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio or amount, what it must be and what it should be.

    Attributes:
        name: What is compared.
        value: What a run gives; None where it lacks a figure for it.
        bar: What must be met.
        reach: What is aimed for; above the bar where more is better.
        peer: The peer that it is compared with, if any.
        unit: Unit of the three numbers; empty for a ratio.
    """

    name: str
    value: float | None
    bar: float
    reach: float
    peer: str = ""
    unit: str = ""
    more_is_better: bool = True

    @property
    def verdict(self) -> str:
        """Whether the bar holds: `reached`, `yes`, `no` or `not measured`."""
        if self.value is None:
            return "not measured"
        sign = 1 if self.more_is_better else -1
        if sign * self.value >= sign * self.reach:
            return "reached"
        return "yes" if sign * self.value >= sign * self.bar else "no"


def bars(records: Records) -> list[Bar]:
    """Return all bars, in the order of the report."""
    return [*_throughput(records), *_latency(records), *_process(records), *_stress(records)]


def _throughput(records: Records) -> list[Bar]:
    batches = records.median(DIGITS, "json-64", JSON_CONNECTIONS, RATE)
    bare = records.median("bare", "json-64", "", "images_per_second")
    images = ratio(batches and batches * JSON_IMAGES, bare)

    def rate(name: str, case: str, connections: int, bar: float, reach: float) -> Bar:
        value, peer = _hardest(records, [case], connections, RATE)
        return Bar(f"{name} ÷ best peer", value, bar, reach, peer)

    return [
        rate(f"the mix, {BUSY} connections", "mix", BUSY, 1.5, 3),
        rate("280×280 canvas", "canvas", BUSY, 1.3, 2),
        rate("12-megapixel JPEG", "large-photo", PHOTO_CONNECTIONS, 4, 8),
        rate("28×28 PNG", "png-28", BUSY, 1.5, 2.5),
        Bar("JSON batches of 64 ÷ bare signature", images, 1, 1.5),
    ]


def _latency(records: Records) -> list[Bar]:
    def latency(name: str, load: int | str, figure: str, bar: float, reach: float) -> Bar:
        value, peer = _hardest(records, LATENCY_CASES, load, figure)
        return _most(f"{name} ÷ best peer's", value, bar, reach, peer=peer)

    return [
        latency("p50 at one connection", 1, "p50_ms", 0.4, 0.2),
        latency(f"p99 at {HALF}", HALF, "p99_ms", 0.4, 0.15),
    ]


def _hardest(
    records: Records, cases: Sequence[str], load: int | str, figure: str
) -> tuple[float | None, str]:
    """Return the worst ratio to a peer among the cases, with the peer (and case, of several)."""
    found = [
        (ratio, peer if len(cases) == 1 else f"{peer}, {case}")
        for case in cases
        for peer, ratio in [records.best_peer(case, load, figure) or ("", None)]
        if ratio is not None
    ]
    if not found:
        return None, ""
    return min(found) if figure == RATE else max(found)


def _process(records: Records) -> list[Bar]:
    def alone(figure: str) -> float | None:
        return records.ratio("process", "", figure, to="bare")

    return [
        _most("memory of a worker ÷ bare TensorFlow", alone("megabytes"), 1.15, 1.05),
        _most("start ÷ bare TensorFlow's", alone("seconds"), 1.1, 0.9),
    ]


def _stress(records: Records) -> list[Bar]:
    def highest(case: str, figure: str) -> float | None:
        found = [record.figures[figure] for record in records if record.case == case]
        return max(found, default=None)

    def overload(figure: str) -> float | None:
        return records.median(DIGITS, "overload", "", figure)

    health = highest("worst", "health_worst_ms")
    peak, after = (highest("memory", f"{when}_gigabytes") for when in ("peak", "after"))
    return [
        _most("worst `/healthz` under a legal request, and 64 of it", health, 50, 20, "ms"),
        _most("memory of two workers under attack, peak", peak, 2.5, 1.5, "GB"),
        _most("… a minute after", after, 1.3, 1.1, "GB"),
        Bar("goodput at twice the peak ÷ peak", overload("goodput_share"), 0.9, 0.97),
        _most("… wrong or lost answers", overload("wrong_or_lost"), 0, 0),
    ]


def _most(
    name: str, value: float | None, bar: float, reach: float, unit: str = "", *, peer: str = ""
) -> Bar:
    return Bar(name, value, bar, reach, peer, unit, more_is_better=False)


def ratio(mine: float | None, other: float | None) -> float | None:
    """Return the quotient, or None where a figure is missing or zero."""
    return mine / other if mine and other else None


def table(found: Sequence[Bar]) -> str:
    """Return the bars as Markdown."""
    lines = ["| | measured | bar | reach for | held |", "| --- | --- | --- | --- | --- |"]
    for bar in found:
        sign = "≥" if bar.more_is_better else "≤"
        unit = f" {bar.unit}" if bar.unit else ""
        value = "" if bar.value is None else f"{bar.value:.2f}{unit}"
        peer = f" ({bar.peer})" if bar.peer else ""
        lines.append(
            f"| {bar.name}{peer} | {value} | {sign} {bar.bar:g}{unit} | {bar.reach:g}{unit} "
            f"| {bar.verdict} |"
        )
    return "\n".join(lines)
