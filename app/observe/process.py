"""What a process takes of its machine."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc/self")
START_TIME = time.time()
"""When this worker began, in Unix time."""


class ProcessFigures(NamedTuple):
    """Figures of this process; 0 where the system does not say."""

    cpu_seconds: float
    resident_bytes: int
    open_descriptors: int
    max_descriptors: int
    start_time: float


def read() -> ProcessFigures:
    """Return the figures as they are now."""
    resident_bytes = descriptors = 0
    if sys.platform == "linux":
        resident_pages = int((PROC / "statm").read_bytes().split()[1])
        resident_bytes = resident_pages * os.sysconf("SC_PAGE_SIZE")
        descriptors = len(os.listdir(PROC / "fd"))  # noqa: PTH208 -- names are all that is counted
    return ProcessFigures(
        time.process_time(), resident_bytes, descriptors, _max_descriptors(), START_TIME
    )


def _max_descriptors() -> int:
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415 -- Windows lacks it

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
