"""`python -m benchmarks.peers install [NAME …]`: an environment for each peer, in `.peers/`."""

from __future__ import annotations

import argparse
import subprocess
import venv

from benchmarks.peers.catalog import ENVIRONMENTS, PEERS, REQUIREMENTS


def install(name: str) -> None:
    folder = ENVIRONMENTS / name
    print(f"Installing {name} into {folder}", flush=True)
    venv.create(folder, with_pip=True)
    subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check",
         "--quiet", "--requirement", REQUIREMENTS / f"{name}.txt"],
        check=True,
    )  # fmt: skip


def main() -> None:
    names = [peer.name for peer in PEERS if not peer.environment]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("command", choices=["install"])
    parser.add_argument("names", nargs="*", choices=[*names, []], default=names, metavar="NAME")
    for name in parser.parse_args().names:
        install(name)


if __name__ == "__main__":
    main()
