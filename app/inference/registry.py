"""The registry: the version folders on disk, and the classifier of the live version.

The version to serve is the pinned one, else the pointer's, else the highest. If it is not the live
one, it is loaded beside it and replaces it in one assignment, so that no request waits and every
response is of one version. If it fails, the live one stays; `rejected` says why.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from ..errors import ModelError, NotReady
from . import pointer
from .classifier import Classifier

log = structlog.get_logger()

Load = Callable[[Path], Classifier]
UNREADABLE = "a file can't be read."
Stamp = tuple[tuple[Path, int, int], ...]


def version_to_serve(models_dir: Path, pinned: int | None = None) -> Path:
    """Return the folder of the pinned version, else of the pointer's, else of the highest.

    Raises:
        ModelError: There is no such folder, or the pointer is damaged.
    """
    wanted = pinned
    if wanted is None and (live := pointer.read(models_dir)):
        wanted = live.version
    try:
        numbers = sorted(
            int(path.name)
            for path in models_dir.iterdir()
            if path.name.isascii() and path.name.isdigit() and path.is_dir()
        )
    except OSError as error:
        raise ModelError(f"{models_dir}: no such folder of model versions.") from error
    if wanted is not None:
        numbers = [number for number in numbers if number == wanted]
    if not numbers:
        missing = "no version" if wanted is None else f"no version {wanted}"
        raise ModelError(f"{models_dir}: there is {missing} in it.")
    return models_dir / str(numbers[-1])


def _stamp(folder: Path) -> Stamp:
    """Return each file's path, size and time of change.

    A folder that is still being copied fails, and is tried again when its stamp has changed.
    """
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)


class ModelRegistry:
    """Hold the live classifier, and replace it when another version is to be served.

    Attributes:
        rejected: Why the version to serve is not the live one, or None if it is.
        promotion: The pointer that made the live version that; None where it did not.
    """

    def __init__(
        self,
        models_dir: Path,
        load: Load,
        *,
        pinned: int | None = None,
        on_reload: Callable[[bool], None] = lambda succeeded: None,
    ) -> None:
        """Load nothing yet.

        Args:
            models_dir: Folder of the version folders.
            load: Returns the classifier of a version's folder; runs in a thread.
            pinned: The only version to serve.
            on_reload: Called after each load but the first: True if the version went live.
        """
        self.models_dir = models_dir
        self.pinned = pinned
        self.rejected: str | None = None
        self.promotion: pointer.Pointer | None = None
        self._load = load
        self._on_reload = on_reload
        self._live: Classifier | None = None
        self._failed: Stamp | None = None

    @property
    def live(self) -> Classifier:
        """The classifier to use now.

        Raises:
            NotReady: The first version is still being loaded.
        """
        if self._live is None:
            raise NotReady("The model is being loaded.")
        return self._live

    async def start(self) -> None:
        """Load the version to serve or, where the pointer leads nowhere, the one before it.

        Raises:
            ModelError: Neither may be served.
        """
        place = self.models_dir
        try:
            place = version_to_serve(self.models_dir, self.pinned)
            self._live = await asyncio.to_thread(self._load, place)
        except ModelError as error:
            before = None if self.pinned else pointer.before(self.models_dir)
            if before is None:
                raise
            folder = version_to_serve(self.models_dir, before)
            self._live = await asyncio.to_thread(self._load, folder)
            self._reject(place, error)
        self._note_promotion()
        await asyncio.to_thread(gc.collect)  # a SavedModel holds itself in cycles

    async def watch(self, seconds: float) -> None:
        """Call `refresh` every `seconds`, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()
            self._note_promotion()

    async def refresh(self) -> None:
        """Load the version to serve, unless it is live or has failed and not changed since."""
        place = self.models_dir
        try:
            place = version_to_serve(self.models_dir, self.pinned)
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
        await asyncio.to_thread(gc.collect)  # a SavedModel holds itself in cycles

    def _reject(self, place: Path, error: Exception) -> None:
        """Keep the live version, and log the reason once."""
        # Clients read it on `/healthz`, so it names no path.
        what = "The models" if place == self.models_dir else f"Version {place.name}"
        why = str(error).removeprefix(f"{place}: ") if isinstance(error, ModelError) else UNREADABLE
        reason = f"{what}: {why}"
        if reason != self.rejected:
            self.rejected = reason
            log.error("version rejected", reason=str(error), live=self.live.version)
            self._on_reload(False)

    def _note_promotion(self) -> None:
        self.promotion = None
        if self.pinned is None:
            with suppress(ModelError):  # `refresh` has said it
                current = pointer.read(self.models_dir)
                if current and str(current.version) == self.live.version:
                    self.promotion = current
