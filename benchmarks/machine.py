"""The machine of a run, as far as it decides the figures."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.settings import available_bytes, available_cores

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16")
"""Processor flags by which the model's programs differ in speed, as `lscpu` names them."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Processor, the flags of `FLAGS` that it has, cores, memory and Python."""

    model: str
    flags: tuple[str, ...]
    cores: int
    gigabytes: float
    python: str

    def __str__(self) -> str:
        avx512 = "yes" if "avx512f" in self.flags else "no"
        return (
            f"{self.model}, {self.cores} cores, {self.gigabytes:.0f} GB, Python {self.python}; "
            f"AVX-512: {avx512} ({' '.join(self.flags)})"
        )


def describe() -> Machine:
    """Return this machine, by `lscpu` where there is one."""
    try:
        output = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    except OSError:
        output = ""
    model = re.search(r"^Model name:\s+(.*)$", output, re.MULTILINE)
    has = set(output.split())
    return Machine(
        model=model[1].strip() if model else platform.processor() or "unknown processor",
        flags=tuple(flag for flag in FLAGS if flag in has),
        cores=available_cores(),
        gigabytes=available_bytes() / 2**30,
        python=platform.python_version(),
    )


def stolen_seconds() -> float:
    """Return for how long the hypervisor has kept cores from this machine that it had work for."""
    fields = Path("/proc/stat").read_text("ascii").split(maxsplit=9)
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def commit() -> str:
    """Return the commit of the working tree, with `+` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
