"""The version folders on disk, and the one classifier of them that is live.

A newer folder is verified and warmed beside the live one and then takes its place in one
assignment, so that no request waits and every answer is of one version. A folder that fails leaves
the old one live, and `rejected` says why.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from ..errors import ModelError, NotReady
from .classifier import Classifier

log = structlog.get_logger()

Load = Callable[[Path], Classifier]
UNREADABLE = "a file can't be read."
Stamp = tuple[tuple[Path, int, int], ...]


def newest(models_dir: Path, pinned: int | None = None) -> Path:
    """The folder of the highest version there is, or of the pinned one. Raises ModelError."""
    try:
        numbers = sorted(
            int(path.name)
            for path in models_dir.iterdir()
            if path.name.isascii() and path.name.isdigit() and path.is_dir()
        )
    except OSError as error:
        raise ModelError(f"{models_dir}: no such folder of model versions.") from error
    if pinned is not None:
        numbers = [number for number in numbers if number == pinned]
    if not numbers:
        wanted = "no version" if pinned is None else f"no version {pinned}"
        raise ModelError(f"{models_dir}: there is {wanted} in it.")
    return models_dir / str(numbers[-1])


def _stamp(folder: Path) -> Stamp:
    """Every file's path, size and time of change: a folder that is still being copied into fails,
    and is to be tried again when its last file is whole.
    """
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)


def _give_memory_back() -> None:
    """What a load needed, and the version before, hold themselves in circles, and glibc would keep
    what is freed.
    """
    gc.collect()
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class ModelRegistry:
    """Holds the live classifier and looks for a newer one.

    `on_reload` is told of every attempt after the first: True where the new version went live.
    """

    def __init__(
        self,
        models_dir: Path,
        load: Load,
        *,
        pinned: int | None = None,
        on_reload: Callable[[bool], None] = lambda succeeded: None,
    ) -> None:
        self.models_dir = models_dir
        self.pinned = pinned
        self.rejected: str | None = None
        self._load = load
        self._on_reload = on_reload
        self._live: Classifier | None = None
        self._failed: Stamp | None = None

    @property
    def live(self) -> Classifier:
        """The classifier to use now. Raises NotReady before the first is loaded."""
        if self._live is None:
            raise NotReady("The model is being loaded.")
        return self._live

    async def start(self) -> None:
        """Load the newest version. Raises ModelError where it may not be served."""
        folder = newest(self.models_dir, self.pinned)
        self._live = await asyncio.to_thread(self._load, folder)
        await asyncio.to_thread(_give_memory_back)

    async def watch(self, seconds: float) -> None:
        """Look for another newest version every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()

    async def refresh(self) -> None:
        """Load the newest version, if it is not the live one nor one that failed as it stands."""
        place = self.models_dir
        try:
            place = newest(self.models_dir, self.pinned)
            if place.name == self.live.version:
                self._failed = self.rejected = None
                return
            stamp = _stamp(place)
            if stamp != self._failed:
                self._failed = stamp
                await self._replace(place)
        except (ModelError, OSError) as error:
            self._reject(place, error)

    async def _replace(self, folder: Path) -> None:
        self._live = await asyncio.to_thread(self._load, folder)
        self._failed = self.rejected = None
        log.info("version live", version=self._live.version)
        self._on_reload(True)
        await asyncio.to_thread(_give_memory_back)

    def _reject(self, place: Path, error: Exception) -> None:
        """Keep the live version and say why, once a reason: the watch comes by often."""
        # Clients read it too, on `/healthz`, and where the folder lies is none of their business.
        what = "The models" if place == self.models_dir else f"Version {place.name}"
        why = str(error).removeprefix(f"{place}: ") if isinstance(error, ModelError) else UNREADABLE
        reason = f"{what}: {why}"
        if reason != self.rejected:
            self.rejected = reason
            log.error("version rejected", reason=str(error), live=self.live.version)
            self._on_reload(False)
