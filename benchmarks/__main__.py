"""`python -m benchmarks`: the service, its two floors and its installed peers, in one run.

Servers take turns, round after round, and sleep when it is not theirs; the median of the rounds
counts. Absolute figures depend on the machine and on who else uses it, the ratios much less.
Wants `wrk`, and peers by `python -m benchmarks.peers install`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from app.inference.registry import newest
from app.settings import available_cores
from benchmarks import bars
from benchmarks.bars import BUSY, Medians, cell
from benchmarks.peers.catalog import PEERS
from benchmarks.plot import draw
from benchmarks.run import Run

FIRST = "1"
PARTS = ("first", "shipped", "process")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    parser.add_argument("--version", help="of the model that ships; default: the newest")
    parser.add_argument("--peers", nargs="*", choices=[one.name for one in PEERS], metavar="NAME")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--plot", type=Path, help="draw throughput and p99 here")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("The benchmarks drive with wrk: apt-get install wrk.")
    version = options.version or newest(options.models).name
    peers = [
        one
        for one in PEERS
        if one.is_installed and (options.peers is None or one.name in options.peers)
    ]
    cores = available_cores()
    run = Run(options.models, version, rounds=options.rounds, seconds=options.seconds, cores=cores)
    if "process" in options.parts:
        run.process()
    if "first" in options.parts:
        run.first_version(FIRST, peers)
        peers = run.finalists(FIRST, peers)
    if "shipped" in options.parts:
        run.shipped(peers)
    found = bars.bars(run.medians, FIRST, version, cores)
    print()
    print(peers_table(run.medians, FIRST))
    print()
    print(bars.table(found))
    if options.plot and run.curves:
        draw(run.curves, options.plot)
    if options.json:
        figures = {"rounds": run.figures, "medians": run.medians, "curves": run.curves}
        ratios = {one.name: one.value for one in found}
        options.json.write_text(json.dumps({"ratios": ratios, **figures}, indent=1) + "\n")


def peers_table(medians: Medians, version: str) -> str:
    """Every server on the same model, as Markdown."""
    lines = [
        f"| on version {version} | p50, 1 connection | requests/s, {BUSY} connections | p99 "
        "| canvas, requests/s | memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in ("digits", *(one.name for one in PEERS)):
        if cell(name, version, "memory") not in medians:
            continue
        alone, busy, canvas = (
            medians[cell(name, version, case, connections)]
            for case, connections in (("png-28", 1), ("png-28", BUSY), ("canvas-280", BUSY))
        )
        memory = medians[cell(name, version, "memory")]["megabytes"]
        failed = f" ({busy['failed']:,.0f} failed)" if busy["failed"] else ""
        lines.append(
            f"| {name} | {alone['p50_ms']:.1f} ms | {busy['requests_per_second']:,.0f}{failed} "
            f"| {busy['p99_ms']:.0f} ms | {canvas['requests_per_second']:,.0f} | {memory:,.0f} MB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
