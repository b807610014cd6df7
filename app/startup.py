"""What has to hold before a server starts, and a line that says what to do where it does not."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pydantic import ValidationError

from .api.middleware import read_key_hashes
from .api.mount import is_ambiguous
from .observe.metrics import FOLDER_VARIABLE
from .settings import PREFIX, Settings

CPUINFO = Path("/proc/cpuinfo")
X86 = ("x86_64", "AMD64")
OPENCV_AVX = 10
"""OpenCV's number of it (`cv::CpuFeatures`), which has no name in Python."""


class StartupError(Exception):
    """The server can't be started; each argument is a line for the operator."""


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        StartupError: With a line for each variable that is wrong.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [
            f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}"
            for fault in error.errors()
            # Such a default hangs on another value, which is wrong itself.
            if fault["type"] != "default_factory_not_called"
        ]
        raise StartupError(*lines) from None
    if settings.api_keys_file:
        try:
            read_key_hashes(settings.api_keys_file)
        except ValueError as error:
            raise StartupError(f"{PREFIX}API_KEYS_FILE: {error}") from None
    if is_ambiguous(settings.root_path):
        raise StartupError(
            f"{PREFIX}ROOT_PATH: {settings.root_path} begins like a path of Digits itself; "
            "mount it at another, such as /digits."
        )
    if settings.traces_endpoint and not find_spec("opentelemetry.exporter.otlp.proto.http"):
        raise StartupError(
            f"{PREFIX}TRACES_ENDPOINT: the packages of the extra `traces` are missing: "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        )
    if settings.grpc_port and not all(map(find_spec, ("grpc", "open_inference"))):
        raise StartupError(
            f"{PREFIX}GRPC_PORT: the packages of the extra `grpc` are missing: "
            "pip install grpcio open-inference-grpc"
        )
    if settings.grpc_port and settings.grpc_port == settings.port:
        raise StartupError(f"{PREFIX}GRPC_PORT: it is a port of its own, and not {PREFIX}PORT's.")
    if settings.sample_per_hour and not settings.feedback_dir:
        raise StartupError(f"{PREFIX}SAMPLE_PER_HOUR: set {PREFIX}FEEDBACK_DIR, where it is kept.")
    kept = settings.feedback_dir
    if kept and not (kept.is_dir() and os.access(kept, os.W_OK | os.X_OK)):
        raise StartupError(f"{PREFIX}FEEDBACK_DIR: {kept} is no folder that can be written to.")
    return settings


def require_free_port(settings: Settings) -> None:
    """Raise StartupError where the gRPC port is another process's, which workers would not see.

    They share it among themselves, and so with any process that shares it, too.
    """
    if not settings.grpc_port:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, settings.grpc_port))
        except OSError as error:
            raise StartupError(
                f"{PREFIX}GRPC_PORT: {settings.grpc_port} can't be used: {error.strerror}."
            ) from None


def require_avx(cpuinfo: Path = CPUINFO) -> None:
    """Raise StartupError where TensorFlow would die of SIGILL as soon as it is imported."""
    if sys.platform != "linux" or platform.machine() not in X86:
        return
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:  # not told
        return
    flags = next((line.split() for line in lines if line.startswith("flags")), None)
    if (flags is not None and "avx" not in flags) or not _has_avx():
        raise StartupError(
            "This processor, or the virtual machine's, has no AVX, without which TensorFlow does "
            "not run. Choose another machine, or a CPU model that passes AVX on."
        )


def _has_avx() -> bool:
    """Whether the processor itself says that it has AVX, which some emulators' cpuinfo does not."""
    try:
        import cv2  # noqa: PLC0415 -- where it can't be imported, the application says why
    except Exception:  # noqa: BLE001 -- whatever a broken module raises
        return True
    return bool(cv2.checkHardwareSupport(OPENCV_AVX))


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """Have a folder where the workers' figures meet, and remove it in the end.

    A folder that the environment names is the operator's, and stays.

    Raises:
        StartupError: There is no folder for temporary files that can be written to.
    """
    if named := os.environ.get(FOLDER_VARIABLE):
        yield Path(named)
        return
    try:
        folder = tempfile.mkdtemp(prefix="digits-metrics-")
    except OSError as error:
        raise StartupError(
            f"Several workers want a folder for temporary files: {error.strerror}. Make /tmp "
            "writable, set TMPDIR, or DIGITS_WORKERS=1."
        ) from None
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield Path(folder)
    finally:
        del os.environ[FOLDER_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)
