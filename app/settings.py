"""Every knob of the service, once: its unit is in its name, its default and reason beside it.

Each is an environment variable with the prefix `DIGITS_`, e.g. `DIGITS_MAX_PIXELS=4000000`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
WORKER_BYTES = 3 * 2**29
"""What a worker may come to hold: TensorFlow, two models during a swap, and large photos."""


def available_cores(cpu_max: Path = CGROUP_CPU_MAX) -> int:
    """The cores this process may use: its affinity, cut down to the container's quota (cgroup v2).

    TensorFlow and OpenCV look at the host's cores alone, and a pod limited to two of sixty-four
    then runs sixty-four threads on two.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = affinity or 1
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or a quota of "max"
        return cores


def available_bytes(memory_max: Path = CGROUP_MEMORY_MAX) -> int:
    """The memory this process may use: the machine's, cut down to the container's (cgroup v2)."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(installed, int(memory_max.read_text()))
    except (OSError, ValueError):  # no cgroup v2 here, or no limit but "max"
        return installed


def fitting_workers() -> int:
    return max(1, min(available_cores(), available_bytes() // WORKER_BYTES, 4))


def threads_per_worker(settings: dict[str, Any]) -> int:
    workers: int = settings["workers"]
    return max(1, min(available_cores() // workers, 8))


def worth_a_thread(settings: dict[str, Any]) -> float:
    return 0.001 if settings["inference_threads"] == 1 else 0.0001


class Settings(BaseSettings):
    """What can be set. `Settings()` reads the environment; tests pass values."""

    model_config = SettingsConfigDict(
        env_prefix="DIGITS_", frozen=True, protected_namespaces=(), extra="forbid"
    )

    host: str = Field("127.0.0.1", description="Address to listen on; the container sets 0.0.0.0.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: PositiveInt = Field(
        default_factory=fitting_workers,
        description="Server processes, each with its own queue and limits: one process's Python "
        "keeps one core busy. Default: one a core and 1.5 GiB of memory, at most 4.",
    )

    models_dir: Path = Field(
        Path("models/digits"), description="Folder of the version folders `1`, `2`, …"
    )
    model_version: PositiveInt | None = Field(
        None, description="Serve this version and no other. Unset: the highest there is."
    )
    reload_seconds: PositiveFloat = Field(
        5.0, description="Seconds between looks for a newer version in `models_dir`."
    )

    max_body_bytes: PositiveInt = Field(
        32 * 2**20, description="Bytes of one request's body. A phone's photo has 3 to 12 MiB."
    )
    max_pixels: PositiveInt = Field(
        64_000_000, description="Pixels of one image. Phones take 12 to 50 million."
    )
    max_images: PositiveInt = Field(256, description="Images in one request.")
    max_held_bytes: PositiveInt = Field(
        256 * 2**20, description="Bytes of all bodies being read or worked on; above it, 503."
    )
    max_waiting_images: PositiveInt = Field(
        512,
        description="Images admitted and not yet answered; above it, 503. At 1 ms an image the "
        "last one waits half a second, less than a caller's patience.",
    )
    max_header_bytes: PositiveInt = Field(
        16 * 1024, description="Bytes of a request's line and headers (httptools has no cap)."
    )

    deadline_seconds: PositiveFloat = Field(
        10.0,
        description="Seconds from a request's first byte read to the start of its inference; "
        "`X-Deadline-Seconds` may ask for less. Past it, 504.",
    )
    header_seconds: PositiveFloat = Field(
        10.0, description="Seconds a connection may take to send a request's headers."
    )
    body_seconds: PositiveFloat = Field(
        60.0, description="Seconds it may then take to send the body: 8 MB at 1 Mbit/s."
    )
    keep_alive_seconds: PositiveInt = Field(
        15, description="Seconds an idle connection is kept; proxies keep theirs for less."
    )
    retry_after_seconds: PositiveInt = Field(
        1, description="`Retry-After` of a 503: a full queue is empty again in under a second."
    )
    drain_notice_seconds: float = Field(
        1.0,
        ge=0,
        description="Seconds after SIGTERM in which `/readyz` says 503 and requests are still "
        "taken, so that a load balancer can look away first.",
    )
    drain_seconds: PositiveInt = Field(
        20, description="Seconds that accepted requests then get to be answered before the exit."
    )

    inference_threads: PositiveInt = Field(
        default_factory=threads_per_worker,
        description="Threads of a worker that run the model, one batch each. Default: the worker's "
        "share of the cores, at most 8.",
    )
    intra_op_threads: PositiveInt = Field(
        1,
        description="Threads inside one model call. One a call and several calls at once waste "
        "less than many threads on one small batch.",
    )
    max_batch: PositiveInt = Field(
        32,
        description="Images in one model call of a thread, and those that the event loop reads "
        "together before it looks what else has come.",
    )
    decode_threads: PositiveInt = Field(
        default_factory=threads_per_worker,
        description="Threads of a worker that decode and normalize large images. Default: as many.",
    )
    decode_group_bytes: PositiveInt = Field(
        256 * 1024,
        description="Bytes of images that a thread takes at once, if they wait: ten canvases, in "
        "10 ms. Their digits then share a model call.",
    )
    inline_image_bytes: int = Field(
        1024,
        ge=0,
        description="Encoded images up to this size are decoded on the event loop: a thread's "
        "hand-over would cost more than the 28×28 PNG itself.",
    )
    inline_call_seconds: float = Field(
        default_factory=worth_a_thread,
        ge=0,
        description="Seconds that a request's images may take in the model on the event loop; "
        "longer, they go to an inference thread. Default: 0.0001, less than a hand-over takes; "
        "0.001 with one inference thread, which has no core of its own.",
    )
    stall_seconds: PositiveFloat = Field(
        30.0, description="A model call that runs longer makes `/healthz` say 503."
    )

    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may call the API, as a JSON list. Default: none."
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of SHA-256 hashes (hex, one a line, `#` comments) of the API keys that "
        "may use `/predict`. Unset: no key is asked for.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1", description="Addresses whose `X-Forwarded-*` is believed, comma-separated."
    )
    log_requests: bool = Field(
        False, description="Log a line for every request, not only for those that fail here."
    )
    log_json: bool = Field(False, description="Log JSON lines; the container sets it.")

    @field_validator("max_waiting_images", "max_held_bytes")
    @classmethod
    def _has_room_for_the_largest_request(cls, room: int, info: ValidationInfo) -> int:
        one = {"max_waiting_images": "max_images", "max_held_bytes": "max_body_bytes"}
        largest = one[str(info.field_name)]
        if room < info.data.get(largest, 0):
            raise ValueError(f"must be at least {largest}, or that many could never be admitted")
        return room
