"""`python -m benchmarks`: the service, its floors and its peers, measured in one run.

Servers take turns, round after round, and sleep while another is measured; ratios are taken within
a round, and their median counts. Absolute figures depend on the machine and on its other users, the
ratios much less. Needs `wrk`; peers that are not installed yet are installed into `.peers/` first.

With `--json FILE` the figures are kept: a later run replaces what it measures again and keeps the
rest, so that a run can be split by `--only` and `--peers`, or go on after a stop. With `--only`
and no parts nothing is measured, and the report is written from the file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.inference.registry import version_to_serve
from benchmarks import bars, digits, machine, report, worst, wrk
from benchmarks.peers.catalog import PEERS, Peer
from benchmarks.peers.environments import InstallError, install
from benchmarks.records import Records
from benchmarks.run import PARTS, Plan, Run

DOCS, README = Path("docs"), Path("README.md")
QUICK_PEERS = ("mosec", "signature")
QUICK_PARTS = tuple(part for part in PARTS if part != "curves")
QUICK_WORST = ("png-rgba", "webp", "jpeg-progressive", "hairline-page", "json-one-number-rows")


def main() -> None:
    """Run the command line."""
    options = _parse()
    wrk.require()
    drawn_from = digits.held_back(options.models, options.data)
    this_machine = machine.describe()
    print(f"{this_machine}\nPictures from {drawn_from.source}\n", flush=True)
    records = Records()
    if options.json and options.json.exists():
        records = Records.read(options.json)

    def save() -> None:
        if options.json:
            records.save(options.json, bars={bar.name: bar.value for bar in bars.bars(records)})

    run = Run(_plan(options), drawn_from, records, cores=this_machine.cores, save=save)
    records.runs[run.name] = {
        "machine": str(this_machine),
        "commit": machine.commit(),
        "pictures": drawn_from.source,
    }
    try:
        run.measure(_installed(options.peers, records))
    except KeyboardInterrupt:
        print("Stopped; what was measured is reported.", file=sys.stderr)
    print(f"\n{report.full(records)}\n\n### For the README\n\n{report.readme(records)}")
    if options.publish:
        publish(records)


def publish(records: Records) -> None:
    """Write the figures into the documents and draw the plot."""
    from benchmarks.plot import draw  # noqa: PLC0415 -- matplotlib takes a second

    report.fill(DOCS / "benchmark.md", report.full(records))
    draw(records, DOCS / "benchmark.png")
    report.fill(README, report.readme(records))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names, worst_names = [peer.name for peer in PEERS], [case.name for case in worst.CASES]
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    parser.add_argument("--version", help="of the model, for every server; default: the live one")
    parser.add_argument("--data", type=Path, help="an mnist.npz; default: DIGITS_DATA")
    parser.add_argument("--only", nargs="*", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--peers", nargs="*", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--worst", nargs="+", choices=worst_names, metavar="CASE",
                        help=", ".join(worst_names))  # fmt: skip
    parser.add_argument("--rounds", type=int, help="of what compares servers; default: 3")
    parser.add_argument("--seconds", type=float, help="of each measurement; default: 3")
    quick = f"5 minutes: a round, {' and '.join(QUICK_PEERS)}, no curves"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", type=Path, help="keep every figure in this file")
    published = "write the figures into docs/benchmark.md, docs/benchmark.png and README.md"
    parser.add_argument("--publish", action="store_true", help=published)
    options = parser.parse_args()
    if options.quick and options.peers is None:
        options.peers = [*QUICK_PEERS]
    return options


def _plan(options: argparse.Namespace) -> Plan:
    quick = options.quick
    every_case = QUICK_WORST if quick else [case.name for case in worst.CASES]
    parts = options.only
    if parts is None:
        parts = QUICK_PARTS if quick else PARTS
    return Plan(
        options.models,
        options.version or version_to_serve(options.models).name,
        parts=parts,
        rounds=options.rounds or (1 if quick else 3),
        seconds=options.seconds or (2 if quick else 3),
        worst_cases=options.worst or every_case,
        overload_seconds=15 if quick else 60,
    )


def _installed(names: list[str] | None, records: Records) -> list[Peer]:
    """Install the named peers, or all, where they are not; those that can't be are noted."""
    found = []
    for peer in PEERS:
        if names is not None and peer.name not in names:
            continue
        try:
            if not peer.is_installed:
                install(peer)
        except InstallError as error:
            print(error, file=sys.stderr)
            records.notes[peer.name] = str(error)
        else:
            found.append(peer)
    return found


if __name__ == "__main__":
    main()
