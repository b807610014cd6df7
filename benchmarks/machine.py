"""The machine of a run, as far as it decides the figures."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import asdict, dataclass

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
        return (
            f"{self.model}, {self.cores} cores, {self.gigabytes:.0f} GB, "
            f"Python {self.python}; flags: {' '.join(self.flags)}"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the fields for a JSON file."""
        return asdict(self) | {"flags": [*self.flags]}


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
