"""What the process keeps of the memory that it has freed."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 32 * 2**20
LARGE_BYTES = 4 * 2**20

YOUNG_OBJECTS = 5_000
"""Objects that may come to be before the collector looks for cycles among them. Python's 700 are
fewer than wait at full load, so that it looked after every few requests, and found nothing."""


def seldom_collect() -> None:
    gc.set_threshold(YOUNG_OBJECTS)


def keep_freed() -> None:
    """Have glibc's malloc keep up to KEPT_BYTES for the next request instead of giving them back,
    but for blocks of LARGE_BYTES or more, as photos have.

    By default a block of 128 KiB is asked of the system anew each time, page by page: with a canvas
    of 300 KB that took longer than decoding it. Other C libraries are left as they are.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
