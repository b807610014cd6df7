"""The plot of a run: the mix, by server, and how late answers are at rising rates."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.bars import BUSY, RATE
from benchmarks.records import DIGITS, Records

COLOR, PEER_COLOR = "#1f77b4", "0.65"


def draw(records: Records, to: Path) -> None:
    """Draw requests a second of every server on the mix, and p99 against the offered rate."""
    figure, (rates, latencies) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    _draw_rates(records, rates)
    _draw_latencies(records, latencies)
    figure.savefig(to, dpi=110)
    plt.close(figure)


def _draw_rates(records: Records, axes: Axes) -> None:
    found = {
        server: rate
        for server in (DIGITS, *records.peers())
        if (rate := records.median(server, "mix", BUSY, RATE))
    }
    servers = sorted(found, key=lambda server: found[server])
    colors = [COLOR if server == DIGITS else PEER_COLOR for server in servers]
    drawn = axes.barh(servers, [found[server] for server in servers], color=colors)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.margins(x=0.12)
    axes.set(xlabel=f"requests/s of the mix, {BUSY} connections")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_latencies(records: Records, axes: Axes) -> None:
    for server in (DIGITS, *records.peers()):
        points = sorted(
            (record.figures["offered_per_second"], record.figures["p99_ms"])
            for record in records.of_case(server, "curve")
        )
        if points:
            width = 2.5 if server == DIGITS else 1.5
            axes.plot(*zip(*points, strict=True), label=server, linewidth=width, marker="o", ms=3)
    axes.set(xlabel="requests/s of the mix, offered", ylabel="p99 in ms", yscale="log")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
