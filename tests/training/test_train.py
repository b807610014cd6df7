import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from training import evaluate, export, train

# Keras 3.15 saving weights under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def arguments(data: Path, folder: Path, *more: str) -> list[str]:
    places = [
        "--data",
        str(data),
        "--models",
        str(folder / "models"),
        "--runs",
        str(folder / "runs"),
    ]
    return ["--any-data", "--arch", "mlp", "--epochs", "8", "--batch-size", "32", *places, *more]


@pytest.fixture(scope="module")
def trained(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert train.main(arguments(small_data, folder)) == 0
    return folder


def test_a_run_leaves_a_version_that_classifies_digits(trained: Path, small_data: Path) -> None:
    version = trained / "models" / "1"
    with np.load(small_data) as digits:
        answers = evaluate.Folder(version).arrays(digits["x_test"])
        right = float(np.mean(answers.labels == digits["y_test"]))
    figures = json.loads((version / "model_card.json").read_text())["figures"]
    assert right > 0.85
    assert figures["test_accuracy"] == pytest.approx(right, abs=1e-6)


def test_a_run_keeps_its_arguments_history_and_pictures(trained: Path) -> None:
    (run,) = (trained / "runs").iterdir()
    history = json.loads((run / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == list(range(1, 9))
    assert history[-1]["loss"] < history[0]["loss"]
    assert json.loads((run / "arguments.json").read_text())["batch_size"] == 32
    pictures = {path.stem for path in run.glob("*.png")}
    assert pictures == {"learning", "confusion", "predictions", "mistakes", "reliability"}
    assert list((run / "tensorboard").iterdir())


def test_a_finished_run_can_be_exported_again(
    trained: Path, small_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = (trained / "runs").iterdir()
    assert train.main(arguments(small_data, trained, "--finish", str(run))) == 0
    told = capsys.readouterr().out
    assert "Test accuracy: 0." in told
    assert "95% interval 0." in told
    assert "Pictures of the run are in " in told
    images = export.golden_images()
    first, second = (export.load(trained / "models" / name)(images) for name in ("1", "2"))
    np.testing.assert_allclose(first["probabilities"], second["probabilities"], atol=1e-6)


def test_of_several_runs_the_best_is_exported(
    trained: Path, small_data: Path, tmp_path: Path
) -> None:
    (good,) = (trained / "runs").iterdir()
    assert train.main(arguments(small_data, tmp_path, "--epochs", "1", "--seed", "2")) == 0
    (poor,) = (tmp_path / "runs").iterdir()
    assert train.main(arguments(small_data, tmp_path, "--finish", str(poor), str(good))) == 0
    card = json.loads((tmp_path / "models" / "2" / "model_card.json").read_text())
    assert card["training"]["arguments"]["seed"] == 1
    seeds = card["figures"]["seeds"]
    assert seeds["runs"] == 2
    assert card["figures"]["test_accuracy"] == max(seeds["test_accuracies"])
    assert seeds["test_accuracy_mean"] == pytest.approx(np.mean(seeds["test_accuracies"]), abs=1e-6)


def test_a_network_learns_from_the_whole_mixture(small_data: Path, tmp_path: Path) -> None:
    with np.load(small_data) as digits:
        scenes = {"digits": digits["x_train"][:200], "labels": digits["y_train"][:200]}
    np.savez(tmp_path / "scenes.npz", **scenes)
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    np.savez(tmp_path / "outliers.npz", digits=noise)
    pools = [f"--{name}={tmp_path / name}.npz" for name in ("scenes", "outliers")]
    words = arguments(small_data, tmp_path, "--arch", "slim", "--epochs", "2", *pools)
    assert train.main(words) == 0
    card = json.loads((tmp_path / "models" / "1" / "model_card.json").read_text())
    assert card["training"]["arguments"]["scenes"] == "scenes.npz"
    serve = export.load(tmp_path / "models" / "1")
    digits_score, noise_score = (
        serve(images)["digit_score"].mean() for images in (scenes["digits"], noise)
    )
    assert digits_score - noise_score > 0.2


def test_a_network_is_distilled_from_a_version_and_asks_it(
    small_data: Path, tmp_path: Path
) -> None:
    with np.load(small_data) as digits:
        test, labels = digits["x_test"], digits["y_test"]
    first = arguments(small_data, tmp_path, "--arch", "slim", "--epochs", "3")
    assert train.main(first) == 0
    teacher = tmp_path / "models" / "1"
    words = ["--arch", "glance", "--epochs", "4", "--teacher", str(teacher)]
    assert train.main(arguments(small_data, tmp_path, *words)) == 0
    card = json.loads((tmp_path / "models" / "2" / "model_card.json").read_text())
    accurate = json.loads((teacher / "model_card.json").read_text())
    assert card["training"]["arguments"]["teacher"] == "1"
    assert card["thresholds"] == accurate["thresholds"]
    assert card["cascade"]["version"] == "1"
    assert card["cascade"]["threshold"] >= max(card["thresholds"].values())
    assert 0 < card["cascade"]["share_unsure"]["test"] <= 1
    answers = evaluate.Folder(tmp_path / "models" / "2").arrays(test)
    assert card["figures"]["test_accuracy"] == pytest.approx(np.mean(answers.labels == labels))


def test_own_images_are_learned_from_scratch(
    small_data: Path, own_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(small_data, tmp_path, "--images", str(own_images))) == 0
    card = json.loads((tmp_path / "models" / "1" / "model_card.json").read_text())
    own = card["own_images"]
    assert own["learned"] + own["held_back"] == 120
    assert own["accuracy"] > 0.7
    assert card["training"]["arguments"]["images"] == own_images.name
    assert f"Your own images, accuracy: {own['accuracy']}" in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    assert train.main(arguments(small_data, tmp_path, "--finish", str(run))) == 0
    again = json.loads((tmp_path / "models" / "2" / "model_card.json").read_text())
    assert again["own_images"] == own


def test_a_version_goes_on_learning_a_writer(
    small_data: Path, small_version: Path, tmp_path: Path
) -> None:
    with np.load(small_data) as digits:  # a writer with a 7 for a 1, and a 1 for a 7
        images, labels = digits["x_test"][:200], digits["y_test"][:200]
    exchanged = {1: 7, 7: 1}
    own = tmp_path / "own"
    for index in np.flatnonzero(np.isin(labels, [1, 7])):
        folder = own / str(exchanged[int(labels[index])])
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index}.png"), 255 - cv2.resize(images[index], (112, 112)))
    more = ["--images", str(own), "--from", str(small_version), "--learning-rate", "0.003"]
    assert train.main(arguments(small_data, tmp_path, *more)) == 0
    card = json.loads((tmp_path / "models" / "1" / "model_card.json").read_text())
    figures = card["own_images"]
    assert figures["accuracy_before"] < 0.3
    assert figures["accuracy"] > figures["accuracy_before"] + 0.3
    assert card["training"]["arguments"]["source"] == "1"
    assert card["training"]["arguments"]["arch"] == "mlp"


def test_a_version_of_which_all_is_kept_computes_what_it_did(
    small_data: Path, tmp_path: Path
) -> None:
    with np.load(small_data) as digits:
        images, labels = digits["x_train"][:200], digits["y_train"][:200]
    dark = np.asarray(images // 4, np.uint8)  # far from what altered digits are
    np.savez(tmp_path / "scenes.npz", digits=dark, labels=labels)
    np.savez(tmp_path / "outliers.npz", digits=np.zeros((100, 28, 28), np.uint8))
    pools = [f"--{name}={tmp_path / name}.npz" for name in ("scenes", "outliers")]
    assert train.main(arguments(small_data, tmp_path, "--arch", "slim", *pools)) == 0
    more = ["--from", str(tmp_path / "models" / "1"), "--keep", "1", "--epochs", "1", *pools]
    assert train.main(arguments(small_data, tmp_path, *more)) == 0
    before, after = (export.reader(tmp_path / "models" / name)(images) for name in ("1", "2"))
    np.testing.assert_allclose(after, before, atol=0.03)


def test_both_networks_of_a_cascade_go_on(
    small_data: Path, own_images: Path, tmp_path: Path
) -> None:
    with np.load(small_data) as digits:
        scenes = {"digits": digits["x_train"][:200], "labels": digits["y_train"][:200]}
    np.savez(tmp_path / "scenes.npz", **scenes)
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    np.savez(tmp_path / "outliers.npz", digits=noise)
    pools = [f"--{name}={tmp_path / name}.npz" for name in ("scenes", "outliers")]
    models = tmp_path / "models"
    for choice in (["--arch", "slim"], ["--arch", "glance", "--teacher", str(models / "1")]):
        assert train.main(arguments(small_data, tmp_path, *choice, "--epochs", "2", *pools)) == 0
    more = ["--images", str(own_images), "--from", str(models / "2"), "--epochs", "1", *pools]
    assert train.main(arguments(small_data, tmp_path, *more)) == 0
    accurate, both = (
        json.loads((models / name / "model_card.json").read_text()) for name in ("3", "4")
    )
    assert (accurate["arch"], both["arch"]) == ("slim", "glance")
    assert "cascade" not in accurate
    assert (both["cascade"]["version"], both["cascade"]["arch"]) == ("3", "slim")
    assert both["thresholds"] == accurate["thresholds"]
    assert both["training"]["arguments"]["teacher"] == "3"
    for card in (accurate, both):
        assert card["own_images"]["held_back"] > 0
    assert evaluate.Folder(models / "4").arrays(scenes["digits"]).accepted.any()


def test_the_networks_of_a_cascade_go_on_one_by_one(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = dict(np.load(small_data))
    np.savez(tmp_path / "scenes.npz", digits=scenes["x_train"], labels=scenes["y_train"])
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    np.savez(tmp_path / "outliers.npz", digits=noise)
    pools = [f"--{name}={tmp_path / name}.npz" for name in ("scenes", "outliers")]
    models, runs = tmp_path / "models", tmp_path / "runs"
    for choice in (["--arch", "slim"], ["--arch", "glance", "--teacher", str(models / "1")]):
        assert train.main(arguments(small_data, tmp_path, *choice, "--epochs", "1", *pools)) == 0
    before = set(runs.iterdir())
    go_on = ["--from", str(models / "2"), "--run-only", "--epochs", "1", *pools]
    alone = [*go_on, "--only", "fast"]
    assert train.main(arguments(small_data, tmp_path, *alone)) == 2
    assert "name its --teacher" in capsys.readouterr().err
    assert train.main(arguments(small_data, tmp_path, *go_on, "--only", "serving_default")) == 2
    assert "accurate, fast" in capsys.readouterr().err
    assert set(runs.iterdir()) == before
    taught = [*alone, "--teacher", str(models / "1")]
    for choice in ([*go_on, "--only", "accurate"], taught):
        assert train.main(arguments(small_data, tmp_path, *choice)) == 0
        assert "Exported" not in capsys.readouterr().out
    made = [
        json.loads((run / "arguments.json").read_text()) for run in set(runs.iterdir()) - before
    ]
    assert sorted(run["arch"] for run in made) == ["glance", "slim"]
    assert {folder.name for folder in models.iterdir()} == {"1", "2"}


@pytest.mark.parametrize("choice", ["--only=fast", "--run-only", "--keep=0.3"])
def test_what_is_for_networks_that_go_on_says_so(choice: str) -> None:
    with pytest.raises(SystemExit):
        train.parse([choice])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--images", "nowhere"], "nowhere: no such folder"),
        (["--from", "nowhere"], "nowhere: no card of a version to go on from"),
        (["--finish", "nowhere"], "nowhere: no run of training.train"),
    ],
)
def test_what_can_not_be_learned_from_is_one_clear_line(
    small_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    more: list[str],
    says: str,
) -> None:
    assert train.main(arguments(small_data, tmp_path, *more)) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(["--loss", "mse", "--optimizer", "adam"], id="mse, adam"),
        pytest.param(["--optimizer", "sgd", "--learning-rate", "0.05"], id="sgd"),
        pytest.param(["--l1", "1e-6", "--l2", "1e-5"], id="l1 and l2"),
    ],
)
def test_every_choice_learns(choice: list[str], small_data: Path, tmp_path: Path) -> None:
    assert train.main(arguments(small_data, tmp_path, "--epochs", "4", *choice)) == 0
    (run,) = (tmp_path / "runs").iterdir()
    history = json.loads((run / "history.json").read_text())
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_the_same_seed_trains_the_same_network(small_data: Path, tmp_path: Path) -> None:
    answers = []
    for name in ("a", "b"):
        assert train.main(arguments(small_data, tmp_path / name, "--epochs", "1")) == 0
        answers.append(export.load(tmp_path / name / "models" / "1")(export.golden_images()))
    np.testing.assert_allclose(answers[0]["probabilities"], answers[1]["probabilities"], atol=1e-5)


def test_a_wrong_data_set_is_one_clear_line(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = [word for word in arguments(small_data, tmp_path) if word != "--any-data"]
    assert train.main(refused) == 2
    assert "is not MNIST's" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_control_c_leaves_no_half_written_version(small_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.train", *arguments(small_data, tmp_path)]
    # A shell's background jobs ignore it, and what they start would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [*command, "--epochs", "100000"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
    ) as process:
        while not list(tmp_path.glob("runs/*/history.json")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    # A shell tells 130 of both: where the interrupt came into code compiled from a string (a
    # namedtuple's), `python -m` ends itself by the signal, though the interrupt was handled.
    assert process.returncode in {130, -signal.SIGINT}, errors
    assert errors.endswith("Stopped; no version was written.\n")
    assert not (tmp_path / "models").exists()


def test_control_c_is_known_by_whatever_a_library_makes_of_it() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def call_of_a_library() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as interrupt:
            raise SystemError("returned a result with an exception set") from interrupt

    with pytest.raises(KeyboardInterrupt), train.interruptible():
        call_of_a_library()
    with pytest.raises(SystemError), train.interruptible():
        raise SystemError


def test_control_c_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with train.interruptible():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
