"""The processes of a server: CPU time and memory of all of them, and signals to all."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

MARK = "DIGITS_BENCHMARK"
"""Environment variable by which a server's descendants are known, even those that are daemons."""

ESTABLISHED = "01"
"""State of a connection in `/proc/net/tcp`."""


def marked(mark: str) -> list[int]:
    """Return the ids of the processes whose environment has the mark."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


def send(number: signal.Signals, processes: Sequence[int]) -> None:
    """Send a signal to those processes that still exist."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def core_seconds(processes: Sequence[int]) -> float:
    """Return the user and system time of the processes so far, in seconds of a core."""
    return sum(map(_core_seconds, processes))


def megabytes(processes: Sequence[int]) -> float:
    """Return the resident memory of the processes, MiB; shared pages count once.

    The sum of proportional shares would shrink with whatever else on the machine has the same
    libraries open.
    """
    private, shared = zip(*map(_private_and_shared, processes), strict=True)
    return float(sum(private) + max(shared)) / 1024


def anonymous_megabytes(processes: Sequence[int]) -> float:
    """Return the memory of the processes that no file backs, MiB: quick enough for sampling."""
    return sum(map(_anonymous, processes)) / 1024


def owners(port: int, processes: Sequence[int]) -> set[int]:
    """Return those of the processes that have accepted a connection on a TCP port."""
    accepted = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[1].endswith(f":{port:04X}") and fields[3] == ESTABLISHED
    }
    links = {f"socket:[{inode}]" for inode in accepted}
    return {process for process in processes if links & _links(process)}


def _links(process: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):  # it has ended
        for link in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile, as the folder itself is
                found.add(str(link.readlink()))
    return found


def _core_seconds(process: int) -> float:
    try:
        user, system = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    except OSError:  # it has ended
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _private_and_shared(process: int) -> tuple[int, int]:
    found = _kilobytes(Path(f"/proc/{process}/smaps_rollup"))
    private = found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)
    return private, found.get("Rss", 0) - private


def _anonymous(process: int) -> int:
    found = _kilobytes(Path(f"/proc/{process}/status"))
    return found.get("RssAnon", 0) + found.get("RssShmem", 0)


def _kilobytes(path: Path) -> dict[str, int]:
    try:
        text = path.read_text()
    except OSError:  # it has ended
        return {}
    return {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
