import subprocess
from pathlib import Path

import pytest

from training import recipe, train
from training.recipe import Recipe, Stage


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have run; those named "fail" fail."""
    commands: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(words[2:])
        return subprocess.CompletedProcess(words, int(words[2] == "fail"))

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def plan_of(*names: str) -> list[Stage]:
    return [Stage(name, lambda name=name: [name], 1) for name in names]  # type: ignore[misc]


def test_stages_run_in_order_and_say_what_is_left(
    ran: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipe.run(plan_of("one", "two"), tmp_path) == 0
    assert ran == [["one"], ["two"]]
    assert "[1/2] one: about 2 minutes left" in capsys.readouterr().out


def test_a_stage_that_had_nothing_to_do_does_not_promise_that_the_others_have(
    ran: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = [Stage("fetch", lambda: ["fetch"], 2), Stage("learn", lambda: ["learn"], 58)]
    assert recipe.run(plan, tmp_path) == 0
    assert "[2/2] learn: about 48 minutes left" in capsys.readouterr().out


def test_a_stopped_recipe_goes_on_at_the_stage_it_was_in(
    ran: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipe.run(plan_of("one", "fail", "three"), tmp_path) == 1
    assert "fail failed" in capsys.readouterr().err
    assert recipe.run(plan_of("one", "two", "three"), tmp_path) == 0
    assert ran == [["one"], ["fail"], ["two"], ["three"]]


def test_what_follows_a_changed_stage_is_made_anew(ran: list[list[str]], tmp_path: Path) -> None:
    recipe.run(plan_of("one", "two", "three"), tmp_path)
    ran.clear()
    recipe.run(plan_of("one", "another", "three"), tmp_path)
    assert ran == [["another"], ["three"]]


def test_every_stage_is_a_command_that_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipe.main(["--data", "mnist.npz", "--list"]) == 0
    assert "fast network" in capsys.readouterr().out
    options = recipe.parse(["--data", "m.npz", "--work", str(tmp_path), "--people", "folder"])
    for name in ("accurate-1", "accurate-2", "accurate-3", "accurate-mean", "fast-1"):
        (tmp_path / "runs" / name / "20260101-000000").mkdir(parents=True)
    for name in ("accurate", "versions"):
        (tmp_path / name / "3").mkdir(parents=True)
    plan = Recipe.of(options).stages()
    for stage in plan:
        module = stage.words()[0]
        assert Path(module.replace(".", "/")).with_suffix(".py").is_file()
        if module == "training.train":
            train.parse(stage.words()[1:])
    assert len({stage.name for stage in plan}) == len(plan)
    fast = next(stage.words() for stage in plan if stage.name == "fast network")
    assert fast[fast.index("--teacher") + 1] == str(tmp_path / "accurate" / "3")


def test_without_mnist_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DIGITS_DATA", raising=False)
    assert recipe.main([]) == 2
    assert "mnist.npz" in capsys.readouterr().err


def test_the_accurate_network_is_chosen_among_the_seeds_and_their_mean(tmp_path: Path) -> None:
    names = ("accurate-1", "accurate-2", "accurate-3", "accurate-mean")
    for name in names:
        (tmp_path / "runs" / name / "20260101-000000").mkdir(parents=True)
    options = recipe.parse(["--data", "m.npz", "--work", str(tmp_path)])
    plan = {stage.name: stage for stage in Recipe.of(options).stages()}
    words = plan["choice of the accurate network"].words()
    assert [Path(word).parent.name for word in words if "20260101" in word] == list(names)
    assert "training.soup" in plan["mean of the seeds"].words()
