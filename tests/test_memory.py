from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FAULTS = """
import resource, sys
import numpy as np
from app import memory
from app.image import decode
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
