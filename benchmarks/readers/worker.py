"""`python worker.py READER FOLDER COUNT`: reads PNGs in FOLDER, on one core; says what it took.

It runs in the reader's own environment, and has nothing but that and the standard library. For each
file, in the order of their names, it prints a JSON object: `text`, and the `seconds` of processor
time from the file's bytes to the text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

Read = Callable[[bytes], str]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OMP_THREAD_LIMIT")
WARM_UP = 5
"""Rows that are read before the time is taken."""


def digits() -> Read:
    """This repository's reader, as `POST /read` has it, without the HTTP."""
    from types import SimpleNamespace  # noqa: PLC0415

    sys.path.insert(0, str(Path(__file__).parents[2]))
    import cv2  # noqa: PLC0415

    from app.inference import loading, registry  # noqa: PLC0415
    from app.inference.grammar import Grammar  # noqa: PLC0415
    from app.serving.limits import Admission  # noqa: PLC0415
    from app.serving.reader import Reader  # noqa: PLC0415

    cv2.setNumThreads(1)
    folder = registry.version_to_serve(Path(__file__).parents[2] / "models" / "digits", None)
    reader = Reader(SimpleNamespace(live=loading.load(folder)), max_pixels=10**7)  # type: ignore[arg-type]
    admission = Admission(max_waiting_images=10, body_bytes=2**30, working_bytes=2**30)

    def read(file: bytes) -> str:
        with admission.open_lease(time.monotonic() + 60) as lease:
            (numbers,) = reader.read([reader.prepare([file], lease, Grammar())])
        return numbers.items[0].text  # type: ignore[union-attr]

    return read


def rapidocr_engine(**steps: bool) -> Read:
    """RapidOCR with some of its steps."""
    import rapidocr  # noqa: PLC0415

    one = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
    engine = rapidocr.RapidOCR(params={**one, "Global.log_level": "critical"})

    def read(file: bytes) -> str:
        return "".join(engine(file, **steps).txts or ())

    return read


def rapidocr_recognizer() -> Read:
    """Its recognizer alone: the picture is one line."""
    return rapidocr_engine(use_det=False, use_cls=False, use_rec=True)


def rapidocr_whole() -> Read:
    """Finding lines, turning and reading them."""
    return rapidocr_engine()


def ddddocr() -> Read:
    """Made for captchas. Told that there are digits alone, it reads nothing at all (1.6.1)."""
    import ddddocr as package  # noqa: PLC0415

    reader = package.DdddOcr(show_ad=False)

    def read(file: bytes) -> str:
        return str(reader.classification(file))

    return read


def tesseract() -> Read:
    """A process a row, as its usual bindings have it; told that there is a line of digits."""
    return program("tesseract", "-", "-", "--psm", "7", "-c", "tessedit_char_whitelist=0123456789")


def ocrad() -> Read:
    """A process a row; told that there are digits alone."""
    return program("ocrad", "--filter=numbers_only", "-")


def program(*command: str) -> Read:
    """A program that takes a picture on standard input, and writes what it says."""

    def read(file: bytes) -> str:
        done = subprocess.run(command, input=file, capture_output=True, check=False)
        return done.stdout.decode(errors="replace")

    return read


def processor_seconds() -> float:
    """What this process and its children have had: what else runs on the machine has no part."""
    times = os.times()  # in ticks of 10 ms, two rows' time: for children there is nothing finer
    return time.process_time() + times.children_user + times.children_system


READERS: dict[str, Callable[[], Read]] = {
    "digits": digits,
    "rapidocr_recognizer": rapidocr_recognizer,
    "rapidocr_whole": rapidocr_whole,
    "ddddocr": ddddocr,
    "tesseract": tesseract,
    "ocrad": ocrad,
}


def main() -> None:
    """Run the command line."""
    name, folder, count = sys.argv[1:]
    os.environ.update(dict.fromkeys(THREADS, "1"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    read = READERS[name]()
    files = [path.read_bytes() for path in sorted(Path(folder).glob("*.png"))[: int(count)]]
    for file in files[:WARM_UP]:
        read(file)
    for file in files:
        began = processor_seconds()
        text = read(file)
        seconds = processor_seconds() - began
        print(json.dumps({"text": text, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
