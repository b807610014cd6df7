"""`python -m benchmarks.peers install [NAME …]`: an environment for each peer, in `.peers/`.

`python -m benchmarks.peers check [NAME …]` also starts each and asks it for the golden digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import answers, digits, mix, servers
from benchmarks.peers.catalog import PEERS, Peer
from benchmarks.peers.environments import InstallError, install


def main() -> None:
    """Run the command line."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("command", choices=["install", "check"])
    # argparse holds the default of `*` itself, an empty list, against the choices.
    parser.add_argument("names", nargs="*", choices=[*names, []], default=[], metavar="NAME")
    parser.add_argument("--model", type=Path, default=Path("models/digits/5"))
    options = parser.parse_args()
    for peer in PEERS:
        if peer.name not in (options.names or names):
            continue
        try:
            if not peer.is_installed:
                install(peer)
            if options.command == "check":
                print(check(peer, options.model), flush=True)
        except (InstallError, answers.WrongAnswersError, OSError) as error:
            print(f"{peer.name}: {error}", flush=True)


def check(peer: Peer, model: Path) -> str:
    """Start a peer, compare its answers to a version's golden digits, and say what it took."""
    images, _ = digits.golden(model)
    with servers.peer(peer, model, mix.encode(images[0], ".png")) as server, server.awake():
        count = answers.check_golden(server, model)
        return (
            f"{peer.name}: {count} golden digits right, first answer after "
            f"{server.first_answer_seconds:.1f} s, {server.megabytes():,.0f} MB"
        )


if __name__ == "__main__":
    main()
