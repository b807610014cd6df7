"""Every setting of the service, once: its unit is in its name, its default and reason beside it.

Each is an environment variable with the prefix `DIGITS_`, such as `DIGITS_MAX_PIXELS=4000000`. An
empty value is unset; lists are separated by commas, or JSON.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "DIGITS_"
CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
MIB = 2**20
WORKER_BYTES = 1536 * MIB
"""Memory that a worker may come to hold: TensorFlow, two models during a reload, the budgets."""
IDLE_WORKER_BYTES = 700 * MIB
"""Memory of a worker beside the budgets, two models during a reload included."""
MAX_KEPT_VERSIONS = 4
"""Versions that are kept loaded beside the live one, at most: each takes 10 to 20 MiB."""


def available_cores(cpu_max: Path = CGROUP_CPU_MAX) -> int:
    """The cores this process may use: its affinity, cut down to the container's quota (cgroup v2).

    TensorFlow and OpenCV look at the host's cores alone; a pod limited to two of sixty-four would
    run sixty-four threads on two.
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
    """As many workers as there are cores and memory for, at most 4."""
    return max(1, min(available_cores(), available_bytes() // WORKER_BYTES, 4))


def threads_per_worker(settings: dict[str, Any]) -> int:
    """A worker's share of the cores, at most 8."""
    workers: int = settings["workers"]
    return max(1, min(available_cores() // workers, 8))


def inline_cost(settings: dict[str, Any]) -> int:
    """What an event loop does itself: more where each worker has one core for loop and threads."""
    return 2**18 if settings["worker_threads"] == 1 else 2**13


def working_budget(settings: dict[str, Any]) -> int:
    """Half of what a worker's share of the memory leaves beside an idle worker."""
    workers: int = settings["workers"]
    spare = available_bytes() // workers - IDLE_WORKER_BYTES
    return max(64 * MIB, min(spare // 2, 384 * MIB))


Duration = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Seconds or days: finite, for nothing waits without a limit."""
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\sA-Z/?#]+|null")
"""What a browser sends as `Origin`, which is compared as it is (RFC 6454, section 6.2)."""

COLLECTOR = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
"""An address to which `/v1/traces` can be added."""

DATA_VARIABLES = frozenset({"DIGITS_DATA", "DIGITS_USPS"})
"""Data sets of training, the benchmark and the tests; no settings of the service."""
CLIENT_VARIABLES = frozenset({"DIGITS_URL", "DIGITS_API_KEY"})
"""Where the command `digits` finds a service, and its key; no settings of the service."""


def unknown_settings(environment: Mapping[str, str] = os.environ) -> Iterable[str]:
    """Variables that look like a setting and are none, such as one with a typing error."""
    known = DATA_VARIABLES | CLIENT_VARIABLES
    known |= {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def split_list(value: Any) -> Any:
    """Return the items of a list that is written with commas, or as JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


class Settings(BaseSettings):
    """What can be set. `Settings()` reads the environment; tests pass values."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        protected_namespaces=(),
        extra="forbid",
    )

    host: str = Field("127.0.0.1", description="Address to listen on; the container sets 0.0.0.0.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    grpc_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of the Open Inference Protocol by gRPC, at the same address; wants the "
        "extra `grpc`. 0: there is none.",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path at which a proxy mounts the service, such as `/digits`, which it takes "
        "off or leaves. Problem types and the OpenAPI document then begin with it. Unset: the "
        "service has a host of its own.",
    )
    workers: PositiveInt = Field(
        default_factory=fitting_workers,
        description="Server processes, each with its own queue and limits: one process's Python "
        "keeps one core busy. Default: one a core and 1.5 GiB of memory, at most 4.",
    )

    models_dir: Path = Field(
        Path("models/digits"), description="Folder of the version folders `1`, `2`, …"
    )
    model_version: PositiveInt | None = Field(
        None,
        description="Serve this version and no other. Unset: the one that `live.json` in "
        "`models_dir` names, which `training.promote` writes; without that file, the highest.",
    )
    shadow_version: PositiveInt | None = Field(
        None,
        description="Have this version read, after its answer, what the live one answered, and "
        "count where it differs (`digits_shadow_images_total`). It takes a second model's memory "
        "and idle processor time. Unset: there is none.",
    )
    versions: Annotated[Literal["live", "all"] | tuple[PositiveInt, ...], NoDecode] = Field(
        "live",
        description="Versions that stay loaded and answer by their number: `live`, `all` (of more "
        "than 4 beside the live one, the highest; also `*`), or up to 4 numbers beside the live "
        "one, as in `3,4` or `[3,4]`.",
    )
    reload_seconds: Duration = Field(
        5.0, description="Seconds between looks at which version in `models_dir` is to be served."
    )

    max_body_bytes: PositiveInt = Field(
        32 * MIB, description="Bytes of one request's body. A phone's photo has 3 to 12 MiB."
    )
    max_pixels: PositiveInt = Field(
        64_000_000, description="Pixels of one image. Phones take 12 to 50 million."
    )
    max_images: PositiveInt = Field(
        256,
        description="Images in one request; four times as many 28×28 images of a binary tensor.",
    )
    max_json_bytes: PositiveInt = Field(
        8 * MIB,
        description="Bytes of a JSON body. Numbers take ten times their PNG, and images in base64 "
        "a third more than the file.",
    )
    body_budget_bytes: PositiveInt = Field(
        128 * MIB,
        description="Bytes of all bodies that a worker reads or works on. A request without room "
        "waits within its deadline, then has 503. A quarter is kept for small bodies.",
    )
    working_budget_bytes: int = Field(
        default_factory=working_budget,
        ge=16 * MIB,
        description="Bytes of memory that a worker takes for parsing and decoding. An image that "
        "needs more has 422; at least 16 MiB, or drawings would. Default: what the container's "
        "memory leaves, at most 384 MiB.",
    )
    max_waiting_images: PositiveInt = Field(
        512,
        description="Images admitted and not yet answered; above it, 503. At 1 ms an image the "
        "last one waits half a second, less than a caller's patience. Four images of a binary "
        "tensor count as one.",
    )
    max_header_bytes: int = Field(
        16 * 1024,
        ge=2048,
        description="Bytes of a request's line and headers (httptools has no cap); at least 2,048, "
        "which a browser's have with a cookie.",
    )

    deadline_seconds: Duration = Field(
        30.0,
        description="Seconds from a request's first byte to its answer, its upload included; "
        "`X-Deadline-Seconds` may ask for less. Past it, what is not begun is not done: 504.",
    )
    header_seconds: Duration = Field(
        10.0, description="Seconds a connection may take to send a request's headers."
    )
    body_seconds: Duration = Field(
        30.0, description="Seconds it may then take to send the body: 4 MB at 1 Mbit/s."
    )
    min_body_bytes_per_second: PositiveInt = Field(
        8 * 1024,
        description="Rate at which a body has to arrive after its first seconds, on average: an "
        "upload that never ends holds memory that others wait for.",
    )
    write_seconds: Duration = Field(
        30.0, description="Seconds a client may leave an answer unread before it is cut off."
    )
    keep_alive_seconds: PositiveInt = Field(
        75, description="Seconds an idle connection is kept: longer than a balancer's usual 60."
    )
    max_pipelined_requests: PositiveInt = Field(
        16, description="Requests of a connection read ahead while answers are owed on it."
    )
    drain_notice_seconds: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds after SIGTERM in which `/readyz` says 503 and requests are still "
        "taken, so that a load balancer can look away first.",
    )
    drain_seconds: PositiveInt = Field(
        20, description="Seconds that accepted requests then get to be answered before the exit."
    )

    worker_threads: PositiveInt = Field(
        default_factory=threads_per_worker,
        description="Threads of a worker that read what is too long for its event loop. Default: "
        "the worker's share of the cores, at most 8.",
    )
    intra_op_threads: PositiveInt = Field(
        1,
        description="Threads inside one model call. One a call and several calls at once waste "
        "less than many threads on one small batch.",
    )
    inline_cost_pixels: int = Field(
        default_factory=inline_cost,
        ge=0,
        description="Work of a request that the event loop does itself, in pixels of 5 to 20 ns; "
        "an image counts 2,048 more. Default: 262,144 (a canvas, or 64 arrays) with one worker "
        "thread, which has no core of its own; else 8,192, less than a hand-over takes.",
    )
    batch_cost_pixels: PositiveInt = Field(
        3 * 2**18,
        description="Work of the requests that the event loop reads together before it looks at "
        "what else has come, in pixels: three canvases or 150 images of 28×28; 16 ms at most.",
    )
    thread_batch_cost_pixels: PositiveInt = Field(
        2**20,
        description="Work of the requests that a thread reads together, if they wait, in pixels.",
    )
    stall_seconds: Duration = Field(
        30.0, description="A call in a worker thread that runs longer makes `/healthz` say 503."
    )

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may call the API, or `*`. Default: none."
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of SHA-256 hashes (hex, one a line, `#` comments) of the API keys that "
        "may use `/predict` and the other protocols. Unset: no key is asked for.",
    )
    feedback_dir: Path | None = Field(
        None,
        description="Folder in which `POST /feedback` keeps pictures with their labels; it must "
        "exist. Unset: there is no feedback.",
    )
    feedback_bytes: int = Field(
        64 * MIB,
        ge=MIB,
        description="Bytes that feedback takes of its volume, in blocks of 4 KiB: 16,000 pictures. "
        "Beyond it the oldest are removed.",
    )
    feedback_days: Duration = Field(
        30.0, description="Days after which a picture that was kept for feedback is removed."
    )
    sample_per_hour: int = Field(
        0,
        ge=0,
        description="Pictures an hour and worker, of answers rejected as uncertain, that are kept "
        "in `feedback_dir` for people to label, within its bytes and days. 0: none.",
    )
    drift_seconds: Duration = Field(
        3600.0,
        description="Seconds of the window of drift and expected accuracy: 500 images of it at "
        "least, or nothing is said. A day where few come.",
    )
    traces_endpoint: str | None = Field(
        None,
        description="Address of an OpenTelemetry collector that takes OTLP over HTTP, such as "
        "`http://collector:4318`; wants the extra `traces`. Unset: nothing is traced.",
    )
    log_requests: bool = Field(
        False, description="Log a line for every request, not only for those that fail here."
    )
    log_json: bool = Field(False, description="Log JSON lines; the container sets it.")

    @field_validator("root_path", mode="before")
    @classmethod
    def _trim_slashes(cls, value: Any) -> Any:
        segments = value.strip("/") if isinstance(value, str) else value
        return f"/{segments}" if segments else segments

    @field_validator("traces_endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not COLLECTOR.fullmatch(endpoint):
            raise ValueError("it is an address of http or https, such as http://collector:4318")
        return endpoint

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        return split_list(value)

    @field_validator("cors_origins")
    @classmethod
    def _are_as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(origin == "*" or ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError(
                "an origin is a scheme, a host in lower case and perhaps a port, with nothing "
                "behind, as in https://a.example:8443; or *"
            )
        return origins

    @field_validator("versions", mode="before")
    @classmethod
    def _split_versions(cls, value: Any) -> Any:
        match split_list(value):
            case [("live" | "all") as word]:
                return word
            case ["*"]:
                return "all"
            case []:
                return "live"
            case items:
                return items

    @field_validator("versions")
    @classmethod
    def _can_be_kept(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if not isinstance(value, str) and len(value) > MAX_KEPT_VERSIONS:
            raise ValueError(f"at most {MAX_KEPT_VERSIONS} versions can be kept")
        return value

    @field_validator("max_waiting_images", "body_budget_bytes")
    @classmethod
    def _has_room_for_the_largest_request(cls, room: int, info: ValidationInfo) -> int:
        largest = {"max_waiting_images": "max_images", "body_budget_bytes": "max_body_bytes"}
        name = largest[str(info.field_name)]
        # Bodies may not use the quarter that is kept for small ones.
        if room < info.data.get(name, 0) * (4 / 3 if name == "max_body_bytes" else 1):
            raise ValueError(f"must be larger beside {name}, or that many could never be admitted")
        return room
