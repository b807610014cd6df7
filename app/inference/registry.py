"""The registry: the version folders on disk, and the classifiers of those that are loaded.

The version to serve is the pinned one, else the pointer's, else the highest. If it is not the live
one, it is loaded beside it and replaces it in one assignment, so that no request waits and every
response is of one version. If it fails, the live one stays; `rejected` says why.

Others are kept beside the live one where that is wanted, for requests that name them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import structlog

from ..errors import ModelError, NotReady
from ..settings import MAX_KEPT_VERSIONS
from . import pointer
from .classifier import Classifier

log = structlog.get_logger()

Load = Callable[[Path], Classifier]
UNREADABLE = "a file can't be read."
Stamp = tuple[tuple[Path, int, int], ...]
Kept = Literal["live", "all"] | Sequence[int]
"""The versions to keep loaded: the live one, all that there are, or these beside the live one."""
STABLE, CANDIDATE = "stable", "candidate"


def version_to_serve(models_dir: Path, pinned: int | None = None) -> Path:
    """Return the folder of the pinned version, else of the pointer's, else of the highest.

    Raises:
        ModelError: There is no such folder, or the pointer is damaged.
    """
    wanted = pinned
    if wanted is None and (live := pointer.read(models_dir)):
        wanted = live.version
    numbers = _numbers(models_dir)
    if wanted is not None:
        numbers = [number for number in numbers if number == wanted]
    if not numbers:
        missing = "no version" if wanted is None else f"no version {wanted}"
        raise ModelError(f"{models_dir}: there is {missing} in it.")
    return models_dir / str(numbers[-1])


def versions_to_keep(models_dir: Path, kept: Kept, live: str) -> list[str]:
    """Return the versions to keep loaded beside the live one, the highest that there may be.

    Raises:
        ModelError: There is no such folder.
    """
    match kept:
        case "live":
            return []
        case "all":
            numbers = _numbers(models_dir)
        case _:
            numbers = sorted(kept)
    others = [str(number) for number in numbers if str(number) != live]
    return others[-MAX_KEPT_VERSIONS:]


def _numbers(models_dir: Path) -> list[int]:
    """The numbers of the version folders, in order."""
    try:
        return sorted(
            int(path.name)
            for path in models_dir.iterdir()
            if path.name.isascii() and path.name.isdigit() and path.is_dir()
        )
    except OSError as error:
        raise ModelError(f"{models_dir}: no such folder of model versions.") from error


def _stamp(folder: Path) -> Stamp:
    """Return each file's path, size and time of change.

    A folder that is still being copied fails, and is tried again when its stamp has changed.
    """
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)


class ModelRegistry:
    """Hold the classifiers, and replace the live one when another version is to be served.

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
        kept: Kept = "live",
        on_reload: Callable[[bool], None] = lambda succeeded: None,
    ) -> None:
        """Load nothing yet.

        Args:
            models_dir: Folder of the version folders.
            load: Returns the classifier of a version's folder; runs in a thread.
            pinned: The version to serve, whatever the pointer says.
            kept: The versions to keep loaded.
            on_reload: Called after each load but the first: True if the version went live.
        """
        self.models_dir = models_dir
        self.pinned = pinned
        self.kept = kept
        self.rejected: str | None = None
        self.promotion: pointer.Pointer | None = None
        self._load = load
        self._on_reload = on_reload
        self._live: Classifier | None = None
        self._others: dict[str, Classifier] = {}
        self._failed: Stamp | None = None
        self._failed_others: dict[str, Stamp] = {}

    @property
    def live(self) -> Classifier:
        """The classifier to use now.

        Raises:
            NotReady: The first version is still being loaded.
        """
        if self._live is None:
            raise NotReady("The model is being loaded.")
        return self._live

    @property
    def versions(self) -> Mapping[str, Classifier]:
        """What is loaded, by version, the lowest first.

        Raises:
            NotReady: The first version is still being loaded.
        """
        loaded = {**self._others, self.live.version: self.live}
        return dict(sorted(loaded.items(), key=lambda item: int(item[0])))

    @property
    def labels(self) -> Mapping[str, Classifier]:
        """What is loaded, by label: the live version is `stable`.

        `candidate` is the highest version above it: an export has the next number, and is a
        candidate until it is promoted.

        Raises:
            NotReady: The first version is still being loaded.
        """
        newest = [*self.versions.values()][-1]
        candidate = {} if newest is self.live else {CANDIDATE: newest}
        return {STABLE: self.live, **candidate}

    async def start(self) -> None:
        """Load the version to serve or, where the pointer leads nowhere, the one before it.

        The others that are to be kept come after.

        Raises:
            ModelError: Neither may be served.
        """
        place = self.models_dir
        try:
            place = version_to_serve(self.models_dir, self.pinned)
            self._live = await self._loaded(place)
        except ModelError as error:
            before = None if self.pinned else pointer.before(self.models_dir)
            if before is None:
                raise
            self._live = await self._loaded(version_to_serve(self.models_dir, before))
            self._reject(place, error)
        self._note_promotion()
        await self._keep_others()

    async def watch(self, seconds: float) -> None:
        """Call `refresh` every `seconds`, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()
            self._note_promotion()

    async def refresh(self) -> None:
        """Load the versions to serve and to keep, but those that failed and have not changed."""
        await self._refresh_live()
        await self._keep_others()

    async def _refresh_live(self) -> None:
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
        replaced = self.live
        self._live = self._others.get(folder.name) or await self._loaded(folder)
        self._others[replaced.version] = replaced
        self._failed = self.rejected = None
        log.info("version live", version=self._live.version)
        self._on_reload(True)

    async def _loaded(self, folder: Path) -> Classifier:
        try:
            return await asyncio.to_thread(self._load, folder)
        finally:
            await asyncio.to_thread(gc.collect)  # a SavedModel holds itself in cycles

    async def _keep_others(self) -> None:
        """Drop the versions that are not to be kept, and load those that are.

        If one fails, the rest are served without it, for the live one does not depend on it.
        """
        try:
            wanted = versions_to_keep(self.models_dir, self.kept, self.live.version)
        except ModelError:
            return  # as `rejected` says
        self._others = {name: self._others[name] for name in wanted if name in self._others}
        for name in wanted:
            if name not in self._others:
                await self._keep(self.models_dir / name)

    async def _keep(self, folder: Path) -> None:
        try:
            stamp = _stamp(folder)
            if stamp != self._failed_others.get(folder.name):
                self._failed_others[folder.name] = stamp
                self._others[folder.name] = await self._loaded(folder)
                del self._failed_others[folder.name]
                log.info("version kept", version=folder.name)
        except (ModelError, OSError) as error:
            log.warning("version not kept", version=folder.name, reason=str(error))

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
