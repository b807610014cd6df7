"""The commands that become another program: the service, and those of training."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .local import MODELS, SERVICE
from .sources import UsageError

SERVICE_PACKAGES = ("fastapi", "uvicorn", "tensorflow")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "1"}
"""Without what TensorFlow says of how it computes, several lines before --help."""
TRAINING_PACKAGES = ("keras", "matplotlib", "tensorflow")


def serve(*, host: str | None, port: int | None) -> NoReturn:
    """Become the service.

    Raises:
        UsageError: Packages are missing.
    """
    missing = [name for name in SERVICE_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The service needs {', '.join(missing)}, which the extra `serve` brings: in a "
            "checkout, pip install '.[serve]', or `make serve`."
        )
    settings = {"DIGITS_HOST": host, "DIGITS_PORT": port}
    given = {name: str(value) for name, value in settings.items() if value is not None}
    become([SERVICE], {"DIGITS_MODELS_DIR": str(MODELS)} | {**os.environ} | given)


def program_of(command: str) -> list[str]:
    """Return the module of `training` that a command runs, and its first arguments."""
    return ["promote", "--rollback"] if command == "rollback" else [command]


def train(command: str, arguments: Sequence[str]) -> NoReturn:
    """Become a program of `training`.

    Args:
        command: Such as `train`, `promote` or `rollback`.
        arguments: Passed on.

    Raises:
        UsageError: The current folder is no checkout, or packages are missing.
    """
    module, *words = program_of(command)
    if not Path("training", f"{module}.py").is_file():
        raise UsageError(
            f"`digits {command}` runs training.{module}, which is not part of the package. Call it "
            "in a checkout of the repository, with what requirements/train.txt lists."
        )
    missing = [name for name in TRAINING_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"`digits {command}` needs {', '.join(missing)}: pip install --require-hashes -r "
            "requirements/train.txt"
        )
    become([f"training.{module}", *words, *arguments], QUIET | {**os.environ})


def become(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by `python -m` with `arguments`: signals and exit status are its own."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment)  # noqa: S606
