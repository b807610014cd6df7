import numpy as np
import pytest

from app.inference.classifier import Images, Scores
from training import gate, speed

LIVE = {
    "accuracy": 0.998,
    "accuracy_altered": 0.99,
    "accuracy_scenes": 0.98,
    "calibration_error": 0.002,
    "accepted": 0.99,
    "outliers_rejected": 0.97,
    "microseconds_alone": 20.0,
    "microseconds_full": 10.0,
    "accuracy_own": 0.9,
}


def failed(candidate: gate.Figures) -> list[str]:
    return [result.check.name for result in gate.judge(LIVE, candidate) if not result.passed]


def test_every_figure_has_its_check() -> None:
    assert [check.name for check in gate.CHECKS] == list(LIVE)


def test_an_equal_and_a_better_version_pass() -> None:
    assert failed(LIVE) == []
    better = {
        check.name: LIVE[check.name] * (1.01 if check.more_is_better else 0.5)
        for check in gate.CHECKS
    }
    assert failed(better) == []


@pytest.mark.parametrize("check", gate.CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize(("share", "passes"), [(1.0, True), (1.05, False)])
def test_a_loss_up_to_the_margin_passes(check: gate.Check, share: float, passes: bool) -> None:
    loss = check.margin * share * (LIVE[check.name] if check.relative else 1)
    worse = LIVE[check.name] - loss if check.more_is_better else LIVE[check.name] + loss
    assert failed(LIVE | {check.name: worse}) == ([] if passes else [check.name])


def test_what_is_no_number_does_not_pass() -> None:
    assert failed(LIVE | {"accuracy": float("nan")}) == ["accuracy"]


def test_without_your_own_images_there_is_no_check_of_them() -> None:
    live = {name: value for name, value in LIVE.items() if name != "accuracy_own"}
    assert len(list(gate.judge(live, live))) == len(LIVE) - 1


def test_durations_are_of_whole_calls_beside_each_other() -> None:
    calls: list[tuple[str, int]] = []

    def compute(name: str, images: Images) -> Scores:
        calls.append((name, len(images)))
        return np.zeros((len(images), 11), np.float32)

    computes = [lambda images, name=name: compute(name, images) for name in "ab"]
    durations = speed.microseconds(computes, np.zeros((10, 28, 28), np.uint8), 4)
    assert len(durations) == 2
    assert all(0 < duration < float("inf") for duration in durations)
    assert calls == [("a", 4), ("a", 4), ("b", 4), ("b", 4)] * speed.ROUNDS
