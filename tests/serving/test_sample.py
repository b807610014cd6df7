from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
from structlog.testing import capture_logs

from app.inference.classifier import Rejection
from app.serving.feedback import UNLABELLED, FeedbackFolder
from app.serving.predictions import Prediction
from app.serving.sample import UncertainSample
from app.vision.normalize import Normalized


def answer(level: int, rejected: Rejection | None = Rejection.UNCERTAIN) -> Prediction:
    normalized = Normalized(np.full((28, 28), level, np.uint8), False, (0, 0, 28, 28), ())
    return Prediction(7, np.float32(0.6), np.full(10, 0.1, np.float32), rejected, normalized)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def kept(folder: Path) -> int:
    return len(list((folder / UNLABELLED).glob("*.png")))


async def written(sample: UncertainSample) -> None:
    assert sample._writing
    await sample._writing


def test_so_many_an_hour_are_kept_and_only_uncertain_ones(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        folder = FeedbackFolder(tmp_path, max_bytes=2**20, max_seconds=1e6)
        sample = UncertainSample(folder, per_hour=60, clock=clock)
        sample.offer([answer(1, None), answer(2, Rejection.NOT_A_DIGIT)])
        assert sample._writing is None
        sample.offer([answer(3, None), answer(4), answer(5)])
        await written(sample)
        sample.offer([answer(6)])
        await written(sample)
        assert kept(tmp_path) == 1
        clock.seconds = 60
        sample.offer([answer(7)])
        await written(sample)
        assert kept(tmp_path) == 2

    asyncio.run(main())


def test_a_picture_that_gets_a_label_is_no_longer_without(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path, max_bytes=2**20, max_seconds=1e6)
    picture = np.full((28, 28), 9, np.uint8)
    folder.keep_unlabelled(picture)
    folder.keep(picture, 4)
    folder.keep_unlabelled(picture)
    assert kept(tmp_path) == 0
    assert len(list((tmp_path / "4").glob("*.png"))) == 1


def test_a_disk_that_fails_harms_no_answer(tmp_path: Path) -> None:
    async def main() -> None:
        place = tmp_path / "gone"
        place.mkdir()
        sample = UncertainSample(
            FeedbackFolder(place, max_bytes=2**20, max_seconds=1e6), per_hour=60
        )
        shutil.rmtree(place)
        with capture_logs() as lines:
            sample.offer([answer(1)])
            await written(sample)
        assert [line["event"] for line in lines] == ["sample can't be kept"]

    asyncio.run(main())
