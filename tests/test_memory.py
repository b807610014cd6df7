from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app import memory
from tests.conftest import ROOT

FAULTS = """
import resource, sys
import numpy as np
from app import memory
from app.vision.decode import decode
from tests.conftest import png

if sys.argv[1] == "kept":
    memory.keep_freed()
canvas = png(np.dstack([np.zeros((280, 280, 3), np.uint8), np.eye(280, dtype=np.uint8) * 255]))
for _ in range(20):
    decode(canvas, max_pixels=10**6)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    decode(canvas, max_pixels=10**6)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What glibc begins with. Left to itself it raises both as blocks are freed, and whether it gives
anything back then depends on what else happens to lie at the end of its heap."""


def faults(how: str) -> int:
    """Pages that the system has to give for a hundred canvases."""
    command = [sys.executable, "-c", FAULTS, how]
    environment = os.environ | GIVEN_BACK
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="wants glibc's malloc")
def test_what_is_freed_is_not_asked_for_again() -> None:
    assert faults("kept") < faults("not kept") / 10


LARGE = """
import re
from pathlib import Path
from app import memory

def megabytes():
    found = re.findall(r"AnonHugePages: +([0-9]+) kB", Path("/proc/self/smaps").read_text())
    return sum(map(int, found)) / 1024

kept = bytearray(range(256)) * 2**16
before = megabytes()
memory.use_large_pages()
assert kept == bytearray(range(256)) * 2**16
print(megabytes() - before)
"""
CHOICE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def gives_large_pages() -> bool:
    release = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
    return release >= (6, 1) and CHOICE.exists() and "[never]" not in CHOICE.read_text()


@pytest.mark.skipif(not gives_large_pages(), reason="wants Linux 6.1 that gives large pages")
def test_what_is_allocated_goes_into_large_pages() -> None:
    command = [sys.executable, "-c", LARGE]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(run.stdout) > 8  # of the 16 MiB, and of what else there is


@pytest.mark.skipif(sys.platform != "linux", reason="wants Linux")
def test_where_the_kernel_tells_nothing_pages_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Path] = []

    def unreadable(path: Path) -> str:
        asked.append(path)
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", unreadable)
    memory.use_large_pages()
    assert asked == [Path("/proc/self/maps")]


def test_elsewhere_than_on_linux_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(Path, "read_text", lambda path: pytest.fail("looked"))
    memory.use_large_pages()
