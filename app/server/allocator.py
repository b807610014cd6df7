"""glibc's malloc, told to give back the memory of large pictures.

By itself it keeps an arena of up to 64 MiB a thread, and takes buffers of up to 32 MiB from these
once the first large buffer was freed: a worker that has decoded some pictures of 40 megapixels
holds 300 MB for good. It reads its settings (mallopt(3)) when a process begins, and so from the
environment alone.
"""

from __future__ import annotations

import os
import sys

MIB = 2**20
MALLOC_VARIABLES = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(MIB),
    "MALLOC_TRIM_THRESHOLD_": str(4 * MIB),
}
"""One arena for all threads; buffers above 1 MiB are mapped, and unmapped when they are freed; of
the arena's end, no more than 4 MiB is kept. Neither limit moves once it is set."""


def bound_kept_memory() -> None:
    """Start this program again with malloc's settings, unless the environment has all of them.

    Values that the environment has stay. The process stays the same, and so does its number;
    processes that it starts inherit the settings.
    """
    if sys.platform != "linux" or os.environ.keys() >= MALLOC_VARIABLES.keys():
        return
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, MALLOC_VARIABLES | os.environ)  # noqa: S606 -- itself
