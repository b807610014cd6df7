from __future__ import annotations

import asyncio
import errno
import os
import time
import zlib
from base64 import urlsafe_b64encode
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.serving import feedback
from app.serving.feedback import FeedbackFolder, id_of, picture_of, row_of
from app.vision.decode import decode
from tests.conftest import Image, spoken
from training.corpora import folder as corpora_folder

DAY = 86_400.0


def keeper(folder: Path, *, max_bytes: int = 2**20, max_seconds: float = DAY) -> FeedbackFolder:
    return FeedbackFolder(folder, max_bytes=max_bytes, max_seconds=max_seconds)


def kept(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/*"))


@given(arrays.arrays(np.uint8, (28, 28)))
def test_an_id_is_its_picture(picture: Image) -> None:
    assert np.array_equal(picture_of(id_of(picture)), picture)


def test_the_id_of_noise_is_not_too_long() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    assert len(id_of(noise)) <= feedback.MAX_ID_LENGTH
    assert np.array_equal(picture_of(id_of(noise)), noise)


@given(arrays.arrays(np.uint8, st.tuples(st.just(28), st.integers(1, 1024))))
def test_an_id_of_a_row_is_its_strip(strip: Image) -> None:
    assert np.array_equal(row_of(id_of(strip)), strip)


def test_the_id_of_the_longest_row_is_not_too_long() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 1024), np.uint8)
    assert len(id_of(noise)) <= feedback.MAX_ROW_ID_LENGTH
    assert np.array_equal(row_of(id_of(noise)), noise)


@pytest.mark.parametrize("pixels", [b"", bytes(27), bytes(28 * 1025), bytes(10**6)])
def test_an_id_of_no_row_is_refused(pixels: bytes) -> None:
    with pytest.raises(ValueError, match="of another length"):
        row_of(urlsafe_b64encode(zlib.compress(pixels)).decode())


def test_a_row_is_one_file_with_its_last_text(tmp_path: Path) -> None:
    folder, row = keeper(tmp_path), np.full((28, 70), 7, np.uint8)
    for text in ("19", "1977", None, "197"):
        folder.keep_row(row, text)
    (file,) = (tmp_path / "rows").iterdir()
    assert file.stem.endswith("-197")
    assert np.array_equal(decode(file.read_bytes()).gray, row)
    os.utime(file, (1, 1))
    folder.prune()
    assert not file.exists()


@given(st.text() | st.text("abcdefXYZ0189-_", max_size=2000))
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        picture_of(text)


@pytest.mark.parametrize("pixels", [bytes(783), bytes(785), bytes(10**6), b""])
def test_an_id_of_another_size_is_refused_before_it_is_unpacked(pixels: bytes) -> None:
    with pytest.raises(ValueError, match=r"of another length|too long"):
        picture_of(urlsafe_b64encode(zlib.compress(pixels)).decode())


def test_an_altered_id_is_refused() -> None:
    id_ = id_of(spoken(7))
    for altered in (id_[:-1], id_[: len(id_) // 2], "A" + id_[1:]):
        with pytest.raises(ValueError, match=r"."):
            picture_of(altered)


def test_pictures_are_kept_by_label_and_training_reads_them(tmp_path: Path) -> None:
    keep = keeper(tmp_path).keep
    keep(spoken(7), 7)
    keep(spoken(1), 4)
    keep(spoken(2), None)
    assert kept(tmp_path) == ["4", "7", "none"]
    (file,) = (tmp_path / "7").iterdir()
    assert np.array_equal(decode(file.read_bytes()).gray, spoken(7))
    read = corpora_folder.read(tmp_path)
    assert read.labels.tolist() == [4, 7]
    assert [problem.found for problem in read.problems] == ["none"]


def test_a_picture_is_one_file_under_its_last_label(tmp_path: Path) -> None:
    keep = keeper(tmp_path).keep
    for label in (7, 7, 1, None, 4):
        keep(spoken(7), label)
    assert kept(tmp_path) == ["4"]


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
def test_where_there_is_no_room_what_was_kept_stays_and_no_draft(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper(tmp_path).keep(spoken(7), 1)

    def write_some(path: Path, *_: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, failing, write_some)
        with pytest.raises(OSError, match="No space"):
            keeper(tmp_path).keep(spoken(7), 7)
    assert kept(tmp_path) == ["1"]
    keeper(tmp_path).keep(spoken(7), 7)
    assert kept(tmp_path) == ["7"]


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    folder = keeper(tmp_path)
    for label, age in ((1, 2 * DAY), (2, DAY / 2)):
        folder.keep(spoken(label), label)
        (file,) = (tmp_path / str(label)).iterdir()
        os.utime(file, (time.time() - age,) * 2)
    folder.prune()
    assert kept(tmp_path) == ["2"]


def test_of_what_is_too_much_the_oldest_go(tmp_path: Path) -> None:
    folder = keeper(tmp_path, max_bytes=8 * feedback.BLOCK_BYTES)
    for label in range(10):
        folder.keep(spoken(label), label)
        (file,) = (tmp_path / str(label)).iterdir()
        os.utime(file, (time.time() - 100 + label,) * 2)
    folder.prune()
    assert kept(tmp_path) == ["4", "5", "6", "7", "8", "9"]


def test_many_writes_stay_within_the_limit(tmp_path: Path) -> None:
    folder = keeper(tmp_path, max_bytes=2**20)
    rng = np.random.default_rng(0)
    for _ in range(5 * feedback.PRUNE_EVERY):
        folder.keep(rng.integers(0, 256, (28, 28), np.uint8), 3)
    files = list((tmp_path / "3").iterdir())
    assert len(files) * feedback.BLOCK_BYTES <= 2**20
    assert len(files) > 100


def test_the_folder_is_pruned_until_it_is_cancelled(tmp_path: Path) -> None:
    folder = keeper(tmp_path)
    folder.keep(spoken(1), 1)
    (file,) = (tmp_path / "1").iterdir()
    os.utime(file, (1, 1))

    async def scene() -> None:
        task = asyncio.create_task(folder.keep_pruned())
        while file.exists():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
