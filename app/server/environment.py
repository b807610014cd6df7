"""What C libraries read from the environment when a process begins, and at no other time."""

from __future__ import annotations

import os
import sys

MIB = 2**20
MALLOC_VARIABLES = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(MIB),
    "MALLOC_TRIM_THRESHOLD_": str(4 * MIB),
}
"""Have glibc's malloc (mallopt(3)) give back the memory of large pictures. By itself it keeps an
arena of up to 64 MiB a thread, and takes buffers of up to 32 MiB from these once the first large
buffer was freed: a worker that has decoded some pictures of 40 megapixels holds 300 MB for good.
With these, there is one arena for all threads; buffers above 1 MiB are mapped, and unmapped when
they are freed; of the arena's end, no more than 4 MiB is kept. Neither limit moves once set."""
BLAS_VARIABLES = {"OPENBLAS_NUM_THREADS": "1"}
"""Have NumPy multiply matrices in the thread that asks. Those of a row are so small that OpenBLAS
takes up to 0.2 ms to wake its threads, and 0.05 ms to multiply; and each thread spins for a while
on a core where others have work."""
VARIABLES = MALLOC_VARIABLES | BLAS_VARIABLES


def restart_with_variables() -> None:
    """Start this program again with `VARIABLES`, unless the environment has all of them.

    Values that the environment has stay. The process stays the same, and so does its number;
    processes that it starts inherit the variables.
    """
    if sys.platform != "linux" or os.environ.keys() >= VARIABLES.keys():
        return
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, VARIABLES | os.environ)  # noqa: S606 -- itself
