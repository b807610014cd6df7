"""The peers' environments, made from locked requirements."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.catalog import STAMP, Peer

PYENV = Path.home() / ".pyenv" / "versions"


class InstallError(Exception):
    """A peer can't be installed on this machine; its text says why."""


def install(peer: Peer) -> None:
    """Make a peer's environment anew. Raises InstallError, with the last lines of pip's output."""
    interpreter = find_python(peer.python_version)
    print(f"Installing {peer.name} into {peer.folder}", flush=True)
    _run(interpreter, "-m", "venv", "--clear", str(peer.folder))
    _run(
        str(peer.python.absolute()), "-m", "pip", "install", "--disable-pip-version-check",
        "--quiet", "--requirement", str(peer.requirements),
    )  # fmt: skip
    shutil.copyfile(peer.requirements, peer.folder / STAMP)


def find_python(version: str) -> str:
    """Return an interpreter of a version, such as `3.12`; the running one where none is asked for.

    Raises:
        InstallError: Neither the path nor pyenv has one that runs.
    """
    if not version:
        return sys.executable
    candidates = [f"python{version}", *map(str, PYENV.glob(f"{version}*/bin/python{version}"))]
    for candidate in candidates:
        try:
            output = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue  # not there, or pyenv's stand-in for another version
        if output.stdout.startswith(f"Python {version}."):
            return candidate
    raise InstallError(f"It needs Python {version}, and there is none.")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        last = "\n".join(f"{error.stdout}{error.stderr}".splitlines()[-5:])
        raise InstallError(f"{' '.join(command)} failed:\n{last}") from error
