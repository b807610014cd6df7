"""The plot of a run: what is answered, and how late, against what is offered."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.wrk import Figures


def draw(curves: dict[str, list[Figures]], to: Path) -> None:
    """`curves`: for each server, its figures at rising rates."""
    figure, (rates, latencies) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, points in curves.items():
        offered = [point["offered_per_second"] for point in points]
        width = 2.5 if name.startswith("digits") else 1.5
        style = {"label": name, "linewidth": width, "marker": "o", "markersize": 3}
        rates.plot(offered, [point["answered_per_second"] for point in points], **style)
        latencies.plot(offered, [point["p99_ms"] for point in points], **style)
    most = max(point["offered_per_second"] for points in curves.values() for point in points)
    rates.plot([0, most], [0, most], color="0.8", linewidth=1, zorder=0)
    rates.set(xlabel="requests/s offered", ylabel="requests/s answered")
    latencies.set(xlabel="requests/s offered", ylabel="p99 in ms", yscale="log")
    for axes in (rates, latencies):
        axes.grid(alpha=0.3)
    rates.legend()
    figure.savefig(to, dpi=110)
    plt.close(figure)
