import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.inference import loading, pointer
from app.inference.pointer import Pointer
from tests.conftest import export_stand_in
from training import promote, speed

# Keras 3.15 saving weights under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def always_one(tf: Any, images: Any) -> dict[str, Any]:
    """A model that sees a 1 in everything, and is sure of it."""
    count = tf.shape(images)[0]
    return {
        "probabilities": tf.one_hot(tf.ones([count], tf.int32), 10),
        "digit_score": tf.ones([count]),
    }


def fails_on_digits(tf: Any, images: Any) -> dict[str, Any]:
    """A model that answers its golden inputs, which are 0 below their first row, and no others."""
    fails = tf.debugging.assert_equal(tf.reduce_max(images[:, 1:]), tf.constant(0, tf.uint8))
    with tf.control_dependencies([fails]):
        return always_one(tf, tf.identity(images))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    export_stand_in(folder / "3", always_one)
    export_stand_in(folder / "5", fails_on_digits)
    return folder


@pytest.fixture
def models(small_version: Path, bad: Path, tmp_path: Path) -> Path:
    """Version 1 is live, 2 is as good, 3 knows no digits, 4 can't be loaded, and 5 fails."""
    models = tmp_path / "models"
    for number in (1, 2, 4):
        shutil.copytree(small_version, models / str(number))
    shutil.copytree(bad, models, dirs_exist_ok=True)
    (models / "4" / "golden.npz").unlink()
    pointer.write(models, Pointer(version=1))
    return models


def live(models: Path) -> Pointer:
    found = pointer.read(models)
    assert found is not None
    return found


def promotions(models: Path, version: int) -> list[dict[str, Any]]:
    card = json.loads((models / str(version) / "model_card.json").read_bytes())
    found: list[dict[str, Any]] = card.get("promotions", [])
    return found


def run(models: Path, data: Path, *words: str) -> int:
    return promote.main([*words, "--models", str(models), "--data", str(data), "--any-data"])


def test_a_candidate_that_passes_the_gate_goes_live(
    models: Path,
    small_data: Path,
    own_images: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two copies of a version differ by the machine's other work alone.
    monkeypatch.setattr(speed, "microseconds", lambda computes, images, size: [1.0] * len(computes))
    assert run(models, small_data, "2", "--images", str(own_images)) == 0
    now = live(models)
    assert (now.version, now.previous, now.forced) == (2, 1, False)
    assert now.promoted is not None
    assert now.why == "It passed the 9 checks of the gate against version 1."
    assert "passed  accuracy_own" in capsys.readouterr().out
    [entry] = promotions(models, 2)
    assert (entry["why"], entry["forced"]) == (now.why, False)


def test_a_bad_candidate_is_refused_and_the_live_version_stays(
    models: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (models / pointer.FILE).read_bytes()
    assert run(models, small_data, "3") == 1
    said = capsys.readouterr()
    assert "FAILED  accuracy " in said.out
    assert "Version 3 is refused: accuracy" in said.err
    assert "Version 1 stays live" in said.err
    assert (models / pointer.FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["4"], "differ in golden.npz"),
        (["4", "--force", "I know"], "differ in golden.npz"),
        (["5"], "Version 5 fails on images of the gate (InvalidArgumentError)."),
        (["9"], "no version 9"),
        (["2", "--images", "nowhere"], "nowhere: no such folder"),
        (["--rollback"], "no version was live before"),
    ],
)
def test_what_can_not_be_promoted_changes_nothing(
    models: Path,
    small_data: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    assert run(models, small_data, *words) == 2
    assert says in capsys.readouterr().err
    assert live(models) == Pointer(version=1)


def test_force_keeps_its_reason_and_rollback_goes_back_and_forth(
    models: Path, small_data: Path
) -> None:
    assert run(models, small_data, "3", "--force", "A drill.") == 0
    forced = live(models)
    assert (forced.version, forced.previous, forced.forced) == (3, 1, True)
    assert forced.why == "A drill."
    [entry] = promotions(models, 3)
    assert (entry["why"], entry["forced"]) == ("A drill.", True)
    assert forced.promoted is not None
    assert entry["promoted"][:16] == forced.promoted.isoformat()[:16]
    loading.verify(models / "3")
    assert run(models, small_data, "--rollback") == 0
    back = live(models)
    assert (back.version, back.previous, back.forced) == (1, 3, False)
    assert back.why == "Rolled back from version 3."
    assert run(models, small_data, "--rollback") == 0
    assert live(models).version == 3
    assert len(promotions(models, 3)) == 1


def test_the_card_keeps_each_promotion(models: Path, small_data: Path) -> None:
    for why in ("A drill.", "Another."):
        assert run(models, small_data, "3", "--force", why) == 0
    assert [entry["why"] for entry in promotions(models, 3)] == ["A drill.", "Another."]


def test_a_promotion_that_does_not_come_about_is_not_on_the_card(
    models: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path: path.read_bytes() for path in (models / "3").rglob("*") if path.is_file()}
    monkeypatch.setattr(pointer, "write", full)
    assert run(models, small_data, "3", "--force", "A drill.") == 2
    after = {path: path.read_bytes() for path in (models / "3").rglob("*") if path.is_file()}
    assert after == before


def test_a_rollback_to_files_that_have_changed_is_refused(
    models: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pointer.write(models, Pointer(version=1, previous=4))
    assert run(models, small_data, "--rollback") == 2
    assert "differ in golden.npz" in capsys.readouterr().err
    assert live(models).version == 1


def test_the_live_version_is_not_measured_against_itself(models: Path, small_data: Path) -> None:
    pointer.write(models, Pointer(version=1, previous=2))
    assert run(models, small_data, "1") == 0
    assert (live(models).version, live(models).previous) == (1, 2)
    (models / pointer.FILE).unlink()
    assert run(models, small_data, "5") == 0  # the highest, which is served without a pointer
    assert (live(models).version, live(models).previous) == (5, None)


@pytest.mark.parametrize("content", ["{", '{"version": 9}'])
def test_a_pointer_that_leads_nowhere_is_put_right_by_force(
    models: Path, small_data: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (models / pointer.FILE).write_text(content)
    assert run(models, small_data, "2") == 2
    assert "live.json is damaged" in (said := capsys.readouterr().err) or "no version 9" in said
    assert run(models, small_data, "2", "--force", "The pointer was lost.") == 0
    assert (live(models).version, live(models).previous) == (2, None)


@pytest.mark.parametrize("words", [[], ["2", "--rollback"], ["2", "--force", " "]])
def test_a_wrong_command_line_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        promote.main(words)
    assert exit_.value.code == 2
    assert "usage" in capsys.readouterr().err
