"""How the process holds its memory: what it keeps of what it freed, and in pages of what size."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 32 * 2**20
LARGE_BYTES = 4 * 2**20

MADV_COLLAPSE = 25  # asm-generic/mman-common.h, from Linux 6.1 on
LARGE_PAGE = 2 * 2**20

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


def use_large_pages() -> None:
    """Have Linux put what is allocated by now into pages of 2 MiB, where it can and may.

    A request touches some hundred objects all over the heap, and to find the 4 KiB page of each
    takes a virtual machine 3 to 5% of its time at full load (measured). To move 250 MB takes
    half a second; other threads go on meanwhile.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, _, _, _, *name = line.split()
            if rights == "rw-p" and (not name or name == ["[heap]"]):
                start, end = (int(address, 16) for address in span.split("-"))
                start = -(-start // LARGE_PAGE) * LARGE_PAGE
                whole = (end - start) // LARGE_PAGE * LARGE_PAGE
                if whole > 0:
                    madvise(start, whole, MADV_COLLAPSE)
