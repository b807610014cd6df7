"""The bars: each ratio that the service is held to, its value in a run, and whether it is met."""

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
        """Whether the value meets the bar: `reached`, `met`, `missed` or `not measured`."""
        if self.value is None:
            return "not measured"
        sign = 1 if self.more_is_better else -1
        if sign * self.value >= sign * self.reach:
            return "reached"
        return "met" if sign * self.value >= sign * self.bar else "missed"


def bars(records: Records) -> list[Bar]:
    """Return all bars, in the order of the report."""
    return [*_throughput(records), *_latency(records), *_process(records), *_stress(records)]


def _throughput(records: Records) -> list[Bar]:
    batches = records.median(DIGITS, "json-64", JSON_CONNECTIONS, RATE)
    bare = records.median("bare", "json-64", "", "images_per_second")
    images = ratio(batches and batches * JSON_IMAGES, bare)
    return [
        _against(records, f"the mix, {BUSY} connections", "mix", BUSY, RATE, bar=1.5, reach=3),
        _against(records, "280×280 canvas, normalized", "canvas", BUSY, RATE, bar=1.3, reach=2),
        _against(
            records, "12-megapixel JPEG", "large-photo", PHOTO_CONNECTIONS, RATE, bar=4, reach=8
        ),
        _against(records, "28×28 PNG", "png-28", BUSY, RATE, bar=1.5, reach=2.5),
        Bar("JSON batches of 64, images/s ÷ bare signature's", images, 1, 1.5),
    ]


def _latency(records: Records) -> list[Bar]:
    return [
        _against(
            records, "p50 at one connection, 28×28 PNG", "png-28", 1, "p50_ms", bar=0.4, reach=0.2
        ),
        _against(records, "p50 at one connection, the mix", "mix", 1, "p50_ms", bar=0.4, reach=0.2),
        _against(records, f"p99 at {HALF}, the mix", "mix", HALF, "p99_ms", bar=0.4, reach=0.15),
        _against(
            records, f"p99 at {HALF}, 28×28 PNG", "png-28", HALF, "p99_ms", bar=0.4, reach=0.15
        ),
    ]


def _process(records: Records) -> list[Bar]:
    def alone(figure: str) -> float | None:
        return records.ratio("process", "", figure, to="bare")

    return [
        _most(
            "memory of a worker ÷ bare TensorFlow with the model", alone("megabytes"), 1.15, 1.05
        ),
        _most("start to first answer ÷ bare import and load", alone("seconds"), 1.1, 0.9),
    ]


def _stress(records: Records) -> list[Bar]:
    stalls = [record.figures for record in records if record.case == "worst"]
    memory = [record.figures for record in records if record.case == "memory"]
    health = max((figures["health_worst_ms"] for figures in stalls), default=None)
    peak = max((figures["peak_gigabytes"] for figures in memory), default=None)
    after = max((figures["after_gigabytes"] for figures in memory), default=None)

    def overload(figure: str) -> float | None:
        return records.median(DIGITS, "overload", "", figure)

    return [
        _most("worst `/healthz` under the worst legal requests", health, 50, 20, "ms"),
        _most("memory of all processes under them, two workers, peak", peak, 2.5, 1.5, "GB"),
        _most("… a minute after", after, 1.3, 1.1, "GB"),
        Bar("goodput at twice the peak ÷ peak", overload("goodput_share"), 0.9, 0.97),
        _most("… wrong or lost answers", overload("wrong_or_lost"), 0, 0),
    ]


def _against(
    records: Records,
    name: str,
    case: str,
    load: int | str,
    figure: str,
    *,
    bar: float,
    reach: float,
) -> Bar:
    found = records.best_peer(case, load, figure)
    peer, value = found or ("", None)
    return Bar(f"{name} ÷ best peer", value, bar, reach, peer, more_is_better=reach > bar)


def _most(name: str, value: float | None, bar: float, reach: float, unit: str = "") -> Bar:
    return Bar(name, value, bar, reach, unit=unit, more_is_better=False)


def ratio(mine: float | None, other: float | None) -> float | None:
    """Return the quotient, or None where a figure is missing or zero."""
    return mine / other if mine and other else None


def table(found: Sequence[Bar]) -> str:
    """Return the bars as Markdown."""
    lines = ["| | value | bar | reach for | |", "| --- | --- | --- | --- | --- |"]
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
