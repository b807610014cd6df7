"""Fuzz decode → normalize: for any bytes, an array or one of our own errors, and nothing else.

`make fuzz SECONDS=1800` runs it with atheris (libFuzzer under Python), which is installed for that
alone. The seeds are the files of `tests/faults/test_images.py`, made by its code. What libFuzzer
finds worth keeping is kept in `.fuzz/corpus` for the next run, and a finding in `.fuzz/findings`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from pathlib import Path
from typing import Any

import atheris
import numpy as np

with atheris.instrument_imports(include=["app", "PIL"]):
    from app.errors import ImageError
    from app.vision.decode import decode, probe
    from app.vision.normalize import normalize

from tests.faults.test_images import PNG_MAGIC, READ, REFUSED, SAME

FOLDER = Path(".fuzz")
MAX_PIXELS = 500_000
MAX_SEED_BYTES = 32_768
PIXELS = b"PIXELS"
"""Begins an input that is no file: a byte for the width, and then gray levels."""


def check(data: bytes) -> None:
    """Raises AssertionError, or whatever should not have been raised."""
    if data.startswith(PIXELS) and len(data) > len(PIXELS) + 1:
        width = min(1 + data[len(PIXELS)], len(data) - len(PIXELS) - 1)
        levels = np.frombuffer(data, np.uint8, offset=len(PIXELS) + 1)
        gray = levels[: len(levels) // width * width].reshape(-1, width)
    else:
        try:
            header = probe(data)
            if header.pixels > MAX_PIXELS:
                return
            gray = decode(data, header).gray
        except ImageError:
            return
    assert gray.dtype == np.uint8
    assert gray.ndim == 2
    assert 0 < gray.size <= MAX_PIXELS
    height, width = gray.shape
    seen = normalize(gray)
    assert seen.digit.dtype == np.uint8
    assert seen.digit.shape == (28, 28)
    if seen.box is not None:
        left, top, right, bottom = seen.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Return libFuzzer's own mutation.

    Of a PNG the checksums are made right again, or hardly one in a thousand would get past them.
    """
    mutated = bytearray(atheris.Mutate(data, max_size))
    if mutated.startswith(PNG_MAGIC) and seed % 8:
        at = len(PNG_MAGIC)
        while at + 12 <= len(mutated):
            end = at + 8 + int.from_bytes(mutated[at : at + 4], "big")
            if end + 4 > len(mutated):
                break
            mutated[end : end + 4] = zlib.crc32(mutated[at + 4 : end]).to_bytes(4, "big")
            at = end + 4
    return bytes(mutated[:max_size])


def write_seeds(corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    cases: list[Any] = [*REFUSED, *SAME, *READ]
    seeds = [case[1]() for case in cases]
    seeds += [PIXELS + bytes([width]) + bytes(range(256)) * 4 for width in (0, 27, 99)]
    for seed in seeds:
        if len(seed) <= MAX_SEED_BYTES:
            (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=1800, help="how long (default: %(default)s)")
    arguments = parser.parse_args()
    write_seeds(FOLDER / "corpus")
    (FOLDER / "findings").mkdir(exist_ok=True)
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-max_len={2 * MAX_SEED_BYTES}",
        f"-artifact_prefix={FOLDER}/findings/",
        "-timeout=30",
        "-rss_limit_mb=0",  # what the instrumentation keeps grows without end
        "-malloc_limit_mb=1024",
        "-print_final_stats=1",
        str(FOLDER / "corpus"),
    ]
    atheris.Setup([sys.argv[0], *options], check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
