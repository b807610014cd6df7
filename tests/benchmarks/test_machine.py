from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import machine


def test_stolen_time_is_that_of_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "cpu  10 20 30 40 50 60 70 250 0 0\ncpu0 1 2 3 4 5 6 7 125 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: lines)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    assert machine.stolen_seconds() == 2.5
