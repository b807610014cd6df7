"""The pointer: the file beside the version folders that says which version is live.

    models/digits/live.json    {"version": 4, "previous": 1, "promoted": …, "why": …, "forced": …}

`training.promote` writes it, in one rename; the registry follows its `version`.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, PositiveInt, ValidationError

from ..errors import ModelError

FILE = "live.json"
LAST_FILE = "live.last.json"
"""The pointer as it was written last, for when `FILE` has been damaged since."""


class Pointer(BaseModel):
    """The live version, and how it became that.

    Attributes:
        version: The version to serve.
        previous: The version that was live before, to which a rollback returns.
        promoted: When.
        why: What spoke for it, in a sentence.
        forced: It has not passed the gate.
    """

    model_config = ConfigDict(frozen=True)

    version: PositiveInt
    previous: PositiveInt | None = None
    promoted: AwareDatetime | None = None
    why: str = ""
    forced: bool = False


def read(models_dir: Path, name: str = FILE) -> Pointer | None:
    """Read the pointer of `models_dir`; None where there is none.

    Raises:
        ModelError: It can't be read, or is no pointer.
    """
    file = models_dir / name
    try:
        return Pointer.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{models_dir}: {name} can't be read ({error.strerror}).") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        what = f"{place}: {fault['msg']}" if place else fault["msg"]
        raise ModelError(f"{models_dir}: {name} is damaged ({what}).") from error


def before(models_dir: Path) -> int | None:
    """Return the version that was live before the one that can't be served; None if unknown.

    Of a damaged pointer that is what the last one written says, else the pointer's `previous`. Both
    were promoted once. The highest version may be a candidate that the gate has refused.
    """
    try:
        current = read(models_dir)
    except ModelError:
        with suppress(ModelError):
            last = read(models_dir, LAST_FILE)
            return last.version if last else None
        return None
    return current.previous if current else None


def write(models_dir: Path, pointer: Pointer) -> None:
    """Replace the pointer of `models_dir`; a reader finds the old or the new one, and it is whole.

    Raises:
        OSError: `models_dir` can't be written.
    """
    for name in (FILE, LAST_FILE):
        _replace(models_dir, name, pointer)


def _replace(models_dir: Path, file_name: str, pointer: Pointer) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".live-", dir=models_dir)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(pointer.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's is the owner's alone, and the server may be another
        Path(name).replace(models_dir / file_name)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
