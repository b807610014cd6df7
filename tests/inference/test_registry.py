from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.errors import ModelError, NotReady
from app.inference import pointer
from app.inference.classifier import Classifier, Thresholds
from app.inference.pointer import Pointer
from app.inference.registry import ModelRegistry, version_to_serve
from tests.conftest import no_rows


def folders(models: Path, *names: str) -> Path:
    for name in names:
        (models / name).mkdir(parents=True)
    return models


def classifier(folder: Path) -> Classifier:
    """Load a classifier at once; a folder with a file `bad` fails."""
    if (folder / "bad").exists() or not folder.exists():
        raise ModelError(f"{folder.name} is bad")
    return Classifier("digits", folder.name, {}, Thresholds(0.5, 0.5), no_rows)


@pytest.mark.parametrize(
    ("names", "pinned", "expected"),
    [
        (["1"], None, "1"),
        (["1", "2", "10"], None, "10"),
        (["1", "2", "10"], 2, "2"),
        (["1", "tmp-2", "3.partial", ".3", "x", "³", "-4"], None, "1"),
    ],
    ids=["one", "numbers, not names", "pinned", "others are no versions"],
)
def test_the_version_to_serve(
    tmp_path: Path, names: list[str], pinned: int | None, expected: str
) -> None:
    assert version_to_serve(folders(tmp_path, *names), pinned) == tmp_path / expected


@pytest.mark.parametrize(
    ("names", "pinned", "says"),
    [([], None, "no version"), (["1"], 2, "no version 2"), (["x"], None, "no version")],
)
def test_no_version_to_serve(
    tmp_path: Path, names: list[str], pinned: int | None, says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        version_to_serve(folders(tmp_path, *names), pinned)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        version_to_serve(tmp_path / "gone")


def test_a_file_is_no_version(tmp_path: Path) -> None:
    folders(tmp_path, "1")
    (tmp_path / "2").touch()
    assert version_to_serve(tmp_path) == tmp_path / "1"


@pytest.mark.parametrize(("pinned", "expected"), [(None, "4"), (1, "1"), (6, "6")])
def test_the_pointer_goes_before_the_highest_and_the_pin_before_the_pointer(
    tmp_path: Path, pinned: int | None, expected: str
) -> None:
    pointer.write(folders(tmp_path, "1", "4", "6"), Pointer(version=4))
    assert version_to_serve(tmp_path, pinned) == tmp_path / expected


def test_a_pin_needs_no_sound_pointer(tmp_path: Path) -> None:
    (folders(tmp_path, "1") / pointer.FILE).write_text("{")
    assert version_to_serve(tmp_path, 1) == tmp_path / "1"
    with pytest.raises(ModelError, match="damaged"):
        version_to_serve(tmp_path)


def watching(models: Path, **options: Any) -> tuple[ModelRegistry, list[bool], list[str]]:
    """Return a registry of `models`, the reloads that it reports, and the folders that it loads."""
    reloads: list[bool] = []
    loaded: list[str] = []

    def load(folder: Path) -> Classifier:
        loaded.append(folder.name)
        return classifier(folder)

    return ModelRegistry(models, load, on_reload=reloads.append, **options), reloads, loaded


def run(work: Coroutine[Any, Any, None]) -> list[dict[str, Any]]:
    """Run it, and return what it logged."""
    with capture_logs() as lines:
        asyncio.run(work)
    return [dict(line) for line in lines]


def test_nothing_is_live_before_the_start(tmp_path: Path) -> None:
    registry, _, _ = watching(folders(tmp_path, "1"))
    with pytest.raises(NotReady):
        _ = registry.live


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    (folders(tmp_path, "1") / "1" / "bad").touch()
    registry, reloads, _ = watching(tmp_path)
    with pytest.raises(ModelError, match="1 is bad"):
        asyncio.run(registry.start())
    assert reloads == []


def test_a_newer_version_goes_live_and_comes_back(tmp_path: Path) -> None:
    registry, reloads, loaded = watching(folders(tmp_path, "1"))

    async def scene() -> None:
        await registry.start()
        await registry.refresh()
        assert registry.live.version == "1"
        folders(tmp_path, "2")
        await registry.refresh()
        assert registry.live.version == "2"
        (tmp_path / "2").rename(tmp_path / "2.away")
        await registry.refresh()
        assert registry.live.version == "1"

    lines = run(scene())
    assert reloads == [True, True]
    assert loaded == ["1", "2", "1"]
    assert [line["version"] for line in lines] == ["2", "1"]


def test_a_pinned_version_stays(tmp_path: Path) -> None:
    registry, reloads, _ = watching(folders(tmp_path, "1", "2"), pinned=1)

    async def scene() -> None:
        await registry.start()
        await registry.refresh()

    run(scene())
    assert registry.live.version == "1"
    assert reloads == []


def test_a_bad_version_is_tried_once_until_it_changes(tmp_path: Path) -> None:
    registry, reloads, loaded = watching(folders(tmp_path, "1"))

    async def scene() -> None:
        await registry.start()
        bad = folders(tmp_path, "2") / "2" / "bad"
        bad.touch()
        for _ in range(3):
            await registry.refresh()
        assert registry.live.version == "1"
        assert registry.rejected == "Version 2: 2 is bad"
        bad.unlink()
        os.utime(tmp_path / "2", ns=(1, 1))
        await registry.refresh()
        assert registry.live.version == "2"
        assert registry.rejected is None

    lines = run(scene())
    assert loaded == ["1", "2", "2"]
    assert reloads == [False, True]
    assert [line["event"] for line in lines] == ["version rejected", "version live"]
    assert lines[0]["reason"] == "2 is bad"
    assert lines[0]["live"] == "1"


def test_a_version_that_is_still_being_copied_is_tried_until_it_is_whole(tmp_path: Path) -> None:
    registry, _, loaded = watching(folders(tmp_path, "1"))

    async def scene() -> None:
        await registry.start()
        last = folders(tmp_path, "2/variables") / "2" / "variables" / "last"
        (tmp_path / "2" / "bad").touch()
        for size in (1, 1, 2):  # in place, so that no folder's time changes
            last.write_bytes(b"x" * size)
            os.utime(last, ns=(1, 1))
            await registry.refresh()
        assert loaded == ["1", "2", "2"]

    run(scene())


def test_what_a_client_reads_names_no_path(tmp_path: Path) -> None:
    registry, _, _ = watching(folders(tmp_path, "1"))

    async def scene() -> None:
        await registry.start()
        (tmp_path / "1").rmdir()
        await registry.refresh()
        assert registry.rejected
        assert registry.rejected == "The models: there is no version in it."
        (folders(tmp_path, "2") / "2" / "dangling").symlink_to(tmp_path / "nowhere")
        await registry.refresh()
        assert registry.rejected == "Version 2: a file can't be read."

    run(scene())


@pytest.mark.parametrize("gone", ["models", "folder"])
def test_what_goes_away_leaves_the_live_version(tmp_path: Path, gone: str) -> None:
    models = folders(tmp_path / "models", "1")
    registry, reloads, _ = watching(models)

    async def scene() -> None:
        await registry.start()
        models.rename(tmp_path / "away")
        if gone == "folder":
            models.mkdir()
        await registry.refresh()
        await registry.refresh()
        assert registry.live.version == "1"
        assert registry.rejected
        if gone == "folder":
            models.rmdir()
        (tmp_path / "away").rename(models)
        await registry.refresh()
        assert registry.rejected is None

    run(scene())
    assert reloads == [False]


def test_a_version_that_went_back_is_tried_anew(tmp_path: Path) -> None:
    registry, _, loaded = watching(folders(tmp_path, "1"))

    async def scene() -> None:
        await registry.start()
        (folders(tmp_path, "2") / "2" / "bad").touch()
        await registry.refresh()
        (tmp_path / "2").rename(tmp_path / "2.away")
        await registry.refresh()
        assert registry.rejected is None
        (tmp_path / "2.away").rename(tmp_path / "2")
        await registry.refresh()
        assert registry.rejected == "Version 2: 2 is bad"

    run(scene())
    assert loaded == ["1", "2", "2"]


def test_the_watch_looks_until_it_is_cancelled(tmp_path: Path) -> None:
    registry, _, _ = watching(folders(tmp_path, "1"))

    async def scene() -> None:
        await registry.start()
        watch = asyncio.create_task(registry.watch(0.001))
        folders(tmp_path, "2")
        while registry.live.version == "1":
            await asyncio.sleep(0.001)
        watch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch

    run(scene())


def test_the_registry_follows_the_pointer(tmp_path: Path) -> None:
    registry, reloads, loaded = watching(folders(tmp_path, "1", "2"))
    pointer.write(tmp_path, Pointer(version=1))

    async def scene() -> None:
        await registry.start()
        folders(tmp_path, "3")
        await registry.refresh()
        assert registry.live.version == "1"
        for version in (2, 1):
            pointer.write(tmp_path, Pointer(version=version))
            await registry.refresh()
            assert registry.live.version == str(version)

    run(scene())
    assert loaded == ["1", "2", "1"]
    assert reloads == [True, True]


def test_a_pointer_that_leads_nowhere_leaves_the_live_version(tmp_path: Path) -> None:
    registry, reloads, _ = watching(folders(tmp_path, "1", "2"))
    (tmp_path / "2" / "bad").touch()
    pointer.write(tmp_path, Pointer(version=1))

    async def scene() -> None:
        await registry.start()
        pointer.write(tmp_path, Pointer(version=2))
        await registry.refresh()
        assert registry.rejected == "Version 2: 2 is bad"
        pointer.write(tmp_path, Pointer(version=9))
        await registry.refresh()
        assert registry.rejected == "The models: there is no version 9 in it."
        (tmp_path / pointer.FILE).write_text("{")
        await registry.refresh()
        assert registry.rejected is not None
        assert registry.rejected.startswith("The models: live.json is damaged")
        assert registry.live.version == "1"
        pointer.write(tmp_path, Pointer(version=1))
        await registry.refresh()
        assert registry.rejected is None

    run(scene())
    assert reloads == [False, False, False]


def test_a_damaged_pointer_is_no_start(tmp_path: Path) -> None:
    (folders(tmp_path, "1") / pointer.FILE).write_text("{")
    registry, _, loaded = watching(tmp_path)
    with pytest.raises(ModelError, match="damaged"):
        asyncio.run(registry.start())
    assert loaded == []


@pytest.mark.parametrize("spoilt", ["damaged", "no such version", "bad version"])
def test_a_start_falls_back_to_what_was_live_before(tmp_path: Path, spoilt: str) -> None:
    """And not to the highest, which may be a candidate that was refused."""
    folders(tmp_path, "1", "2", "3")
    pointer.write(tmp_path, Pointer(version=1))
    if spoilt == "damaged":
        (tmp_path / pointer.FILE).write_text('{"version": ')
    elif spoilt == "no such version":
        pointer.write(tmp_path, Pointer(version=9, previous=1))
    else:
        (tmp_path / "2" / "bad").touch()
        pointer.write(tmp_path, Pointer(version=2, previous=1))

    async def main() -> None:
        told: list[bool] = []
        registry = ModelRegistry(tmp_path, classifier, on_reload=told.append)
        with capture_logs() as lines:
            await registry.start()
            await registry.refresh()
        assert registry.live.version == "1"
        assert registry.rejected
        assert registry.promotion is None
        assert told == [False]
        assert [line["event"] for line in lines] == ["version rejected"]
        pointer.write(tmp_path, Pointer(version=1))
        await registry.refresh()
        assert registry.rejected is None

    asyncio.run(main())


def test_a_pinned_start_falls_back_to_nothing(tmp_path: Path) -> None:
    folders(tmp_path, "1", "2")
    (tmp_path / "2" / "bad").touch()
    pointer.write(tmp_path, Pointer(version=2, previous=1))
    with pytest.raises(ModelError, match="2 is bad"):
        asyncio.run(ModelRegistry(tmp_path, classifier, pinned=2).start())


def test_the_promotion_is_the_live_versions(tmp_path: Path) -> None:
    folders(tmp_path, "1", "2")
    pointer.write(tmp_path, Pointer(version=2, previous=1, why="Better."))
    registry = ModelRegistry(tmp_path, classifier)
    asyncio.run(registry.start())
    assert registry.promotion
    assert registry.promotion.why == "Better."
    pinned = ModelRegistry(tmp_path, classifier, pinned=2)
    asyncio.run(pinned.start())
    assert pinned.promotion is None


@pytest.mark.parametrize(
    ("kept", "expected"),
    [("live", ["4"]), ("all", ["1", "3", "4", "6"]), ((3, 1), ["1", "3", "4"]), ((4,), ["4"])],
)
def test_other_versions_are_kept(tmp_path: Path, kept: Any, expected: list[str]) -> None:
    pointer.write(folders(tmp_path, "1", "3", "4", "6"), Pointer(version=4))
    registry, reloads, loaded = watching(tmp_path, kept=kept)
    run(registry.start())
    assert [*registry.versions] == expected
    assert all(name == one.version for name, one in registry.versions.items())
    assert (registry.live.version, loaded[0], reloads) == ("4", "4", [])


def test_of_many_versions_the_highest_are_kept(tmp_path: Path) -> None:
    pointer.write(folders(tmp_path, *map(str, range(1, 12))), Pointer(version=2))
    registry, _, _ = watching(tmp_path, kept="all")
    run(registry.start())
    assert [*registry.versions] == ["2", "8", "9", "10", "11"]


def test_labels_follow_the_promotion(tmp_path: Path) -> None:
    pointer.write(folders(tmp_path, "1", "4", "5"), Pointer(version=4))
    registry, _, loaded = watching(tmp_path, kept="all")

    def labelled() -> dict[str, str]:
        return {label: one.version for label, one in registry.labels.items()}

    async def scene() -> None:
        await registry.start()
        assert labelled() == {"stable": "4", "candidate": "5"}
        pointer.write(tmp_path, Pointer(version=5))
        await registry.refresh()
        assert labelled() == {"stable": "5"}
        assert [*registry.versions] == ["1", "4", "5"]

    run(scene())
    assert loaded == ["4", "1", "5"]


def test_a_version_that_is_not_wanted_any_more_is_dropped(tmp_path: Path) -> None:
    registry, _, _ = watching(folders(tmp_path, "1", "2"), kept="all")

    async def scene() -> None:
        await registry.start()
        (tmp_path / "1").rmdir()
        await registry.refresh()

    run(scene())
    assert [*registry.versions] == ["2"]


def test_a_version_that_can_t_be_kept_is_logged_once_and_tried_again_when_changed(
    tmp_path: Path,
) -> None:
    (folders(tmp_path, "1", "2") / "1" / "bad").touch()
    registry, _, loaded = watching(tmp_path, kept=(1, 7))

    async def scene() -> None:
        await registry.start()
        await registry.refresh()
        assert [*registry.versions] == ["2"]
        (tmp_path / "1" / "bad").unlink()
        await registry.refresh()

    lines = run(scene())
    assert [*registry.versions] == ["1", "2"]
    assert registry.rejected is None
    assert loaded == ["2", "1", "7", "1"]
    failed = [line["version"] for line in lines if line["event"] == "version not kept"]
    assert failed == ["1", "7"]
