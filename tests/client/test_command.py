"""`digits` against the model that ships."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from digits import command
from digits.command import INTERRUPTED, PASSED_ON, SOME_NOT_READ, UNFINISHED, USAGE_ERROR, main
from tests.conftest import EXAMPLES, ROOT
from tests.faults.server import Server, wait_until

SEVEN, THREE = str(EXAMPLES / "seven.jpg"), str(EXAMPLES / "three.png")
NOWHERE = "http://127.0.0.1:1"
SECONDS = 120


@dataclass
class Ended:
    """What a call has returned and written."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def url(shipped: Server) -> str:
    return f"http://127.0.0.1:{shipped.port}"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Ended:
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse's
        status = int(error.code or 0)
    out, err = capsys.readouterr()
    return Ended(status, out, err)


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DIGITS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "digits", *arguments], cwd=ROOT, env=environment, **options
    )


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str], url: str) -> None:
    ended = run(capsys, "predict", "--url", url, "--json", SEVEN, THREE)
    assert (ended.status, ended.err) == (0, "")
    assert [(row["image"], row["label"]) for row in ended.rows] == [(SEVEN, 7), (THREE, 3)]


def test_csv_has_a_header(capsys: pytest.CaptureFixture[str], url: str) -> None:
    ended = run(capsys, "predict", "--url", url, "--csv", EXAMPLES)
    rows = [*csv.DictReader(ended.out.splitlines())]
    assert ended.status == SOME_NOT_READ
    assert {(Path(row["image"]).stem, row["label"]) for row in rows if not row["rejected"]} == {
        ("three", "3"),
        ("five", "5"),
        ("seven", "7"),
    }
    assert {row["rejected"] for row in rows if "number" in row["image"]} == {"several_digits"}


def test_a_table_is_for_people(
    capsys: pytest.CaptureFixture[str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITS_URL", url)
    monkeypatch.chdir(EXAMPLES)
    ended = run(capsys, "predict", "seven.jpg")
    assert ended.status == 0
    assert ended.out.splitlines()[1].split()[:2] == ["seven.jpg", "7"]
    assert "▀" not in ended.out


def test_a_terminal_need_not_have_every_character(url: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "digits", "predict", "--url", url, "missing – é.png"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == SOME_NOT_READ
    assert rb"missing \u2013 \xe9.png" in done.stdout
    assert done.stderr == b""


def test_what_is_not_read_sets_the_status(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.png"
    ended = run(capsys, "predict", "--url", url, "--json", missing, SEVEN, ROOT / "README.md")
    assert ended.status == SOME_NOT_READ
    assert [row.get("label") for row in ended.rows] == [None, 7, None]
    assert ended.rows[0]["error"] == {
        "detail": "The file can't be read: No such file or directory."
    }
    blank = tmp_path / "blank.png"
    shutil.copy(ROOT / "docs" / "examples" / "three.png", blank)
    ended = run(capsys, "predict", "--url", url, "--json", "--as-it-is", blank)
    assert ended.status == SOME_NOT_READ
    assert "28×28" in str(ended.rows[0]["error"])


def test_a_rejected_image_sets_the_status(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path
) -> None:
    blank = tmp_path / "blank.pgm.bmp"
    # A BMP of 1×1: header, palette of two, a row.
    blank.write_bytes(
        b"BM" + (66).to_bytes(4, "little") + bytes(4) + (62).to_bytes(4, "little")
        + (40).to_bytes(4, "little") + (1).to_bytes(4, "little") * 2 + b"\1\0\1\0" + bytes(24)
        + bytes(8) + bytes(4)
    )  # fmt: skip
    ended = run(capsys, "predict", "--url", url, "--json", blank)
    assert ended.rows[0]["rejected"] == "blank"
    assert ended.status == SOME_NOT_READ


def test_standard_input_is_read(url: str) -> None:
    with Path(SEVEN).open("rb") as image:
        process = start(
            "predict", "--url", url, "--json", "-", stdin=image.fileno(), stdout=subprocess.PIPE
        )
        out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    row = json.loads(out)
    assert (row["image"], row["label"]) == ("-", 7)


def test_lists_are_read(capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text(f"{SEVEN}\n{THREE}\n")
    for arguments in ([f"@{names}"], ["--from-file", names]):
        ended = run(capsys, "predict", "--url", url, "--json", *arguments)
        assert [row["label"] for row in ended.rows] == [7, 3]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "start the service"),
        (["reed"], "invalid choice"),
        (["predict"], "No image is named"),
        (["predict", "--json", "--csv", SEVEN], "not allowed with"),
        (["predict", "--local", "--url", NOWHERE, SEVEN], "not allowed with"),
        (["predict", "--resume", SEVEN], "needs --output"),
        (["predict", "--batch-size", "0", SEVEN], "from 1 to 256"),
        (["predict", "--in-flight", "many", SEVEN], "'many' is no whole number from 1 to 64"),
        *(
            (["versions", "--timeout", seconds], "--timeout: ")
            for seconds in ("nan", "inf", "1e10", "0", "soon")
        ),
        (["predict", "--timeout=-1", SEVEN], "--timeout: '-1' is no number of seconds above 0"),
        (["versions", "--url", "http://localhost/?x=1"], "it has a query"),
        (["predict", "--url", NOWHERE, "@none"], "can't be read"),
        (["predict", "--url", "localhost:8000", SEVEN], "no address of a service"),
        (["versions", "--url", "http://[::1"], "no address of a service"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str) -> None:
    ended = run(capsys, *arguments)
    assert ended.status == USAGE_ERROR
    assert reason in ended.err
    assert ended.out == ""


def test_a_key_that_can_not_be_sent_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITS_API_KEY", "se\ncret")
    ended = run(capsys, "versions", "--url", NOWHERE)
    assert ended.status == USAGE_ERROR
    assert "DIGITS_API_KEY" in ended.err
    assert "cret" not in ended.err


def test_no_service_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["predict", SEVEN], ["versions"]):
        ended = run(capsys, *arguments, "--url", NOWHERE, "--attempts", "1")
        assert ended.status == UNFINISHED
        assert ended.err.startswith(f"digits: {NOWHERE} can't be reached (")
        assert len(ended.err.splitlines()) == 1
        assert "--local" in ended.err


def test_an_address_with_a_path_of_the_service_is_told_so(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    ended = run(capsys, "versions", "--url", f"{url}/predict")
    assert ended.status == UNFINISHED
    assert "--url is the service's own address" in ended.err


def test_an_interruption_has_its_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_already_done", interrupt)
    assert run(capsys, "predict", SEVEN).status == INTERRUPTED


def test_an_output_is_not_written_over(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path
) -> None:
    output = tmp_path / "results.jsonl"
    output.write_text("precious")
    ended = run(capsys, "predict", "--url", url, "--output", output, SEVEN)
    assert ended.status == USAGE_ERROR
    assert "--resume" in ended.err
    assert output.read_text() == "precious"


def test_an_output_without_a_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ended = run(capsys, "predict", "--output", tmp_path / "none" / "results.csv", SEVEN)
    assert ended.status == UNFINISHED
    assert "No such file" in ended.err


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv"])
def test_a_run_that_was_killed_is_resumed(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path, name: str
) -> None:
    images = [tmp_path / f"{index:02}.jpg" for index in range(12)]
    for image in images:
        shutil.copy(SEVEN, image)
    output = tmp_path / name
    # The list does not end, so the run can't either.
    process = start(
        *("predict", "--url", url, "--from-file", "-", "--output", str(output)),
        *("--batch-size", "1", "--in-flight", "1"),
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        process.stdin.write("".join(f"{image}\n" for image in images[:6]).encode())
        process.stdin.flush()
        wait_until(lambda: output.exists() and output.read_bytes().count(b"\n") >= 3)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
    with output.open("ab") as file:
        file.write(b'{"image": "half a row')
    before = output.read_text().splitlines()[:-1]
    ended = run(capsys, "predict", "--url", url, "--output", output, "--resume", tmp_path)
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    lines = output.read_text().splitlines()
    assert lines[: len(before)] == before
    if output.suffix == ".csv":
        found = [(row["image"], row["label"]) for row in csv.DictReader(lines)]
    else:
        found = [(row["image"], str(row["label"])) for row in map(json.loads, lines)]
    assert found == [(str(image), "7") for image in images]
    again = run(capsys, "predict", "--url", NOWHERE, "--output", output, "--resume", tmp_path)
    assert again.status == 0
    assert output.read_text().splitlines() == lines


def test_a_reader_that_goes_ends_it_quietly(url: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(
        "predict", "--url", url, "--json", SEVEN, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == UNFINISHED
    assert err == b""


@pytest.mark.parametrize(
    ("closed", "status"), [("<&-", SOME_NOT_READ), (">&-", 0), (">&- 2>&-", 0), ("<&- >&- 2>&-", 1)]
)
def test_a_stream_that_is_closed_is_as_one_of_nothing(url: str, closed: str, status: int) -> None:
    image = "-" if "<" in closed else SEVEN
    line = shlex.join([sys.executable, "-m", "digits", "predict", "--url", url, image])
    process = subprocess.run(
        ["/bin/sh", "-c", f"exec {line} {closed}"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )
    assert process.returncode == status
    assert process.stderr == b""


def test_versions_say_what_is_live(capsys: pytest.CaptureFixture[str], url: str) -> None:
    ended = run(capsys, "versions", "--url", url)
    assert ended.status == 0
    live = json.loads((ROOT / "models" / "digits" / "live.json").read_bytes())["version"]
    assert ended.out.startswith(f"digits {live}, of 20")
    card = json.loads(run(capsys, "versions", "--url", url, "--json").out)
    assert card["version"] == str(live)


def test_programs_that_are_not_there_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in PASSED_ON:
        ended = run(capsys, name, "--seed", "1")
        assert ended.status == USAGE_ERROR
        assert f"`digits {name}` runs training." in ended.err
        assert "checkout" in ended.err


def test_packages_of_training_that_are_missing_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("digits.launch.TRAINING_PACKAGES", ("json", "no_such_package"))
    for name in PASSED_ON:
        ended = run(capsys, name)
        assert ended.status == USAGE_ERROR
        assert f"`digits {name}` needs no_such_package" in ended.err
        assert "requirements/train.txt" in ended.err


def test_programs_that_are_there_get_their_arguments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    levels: list[str | None] = []

    def become(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        became.append([program, *arguments, environment.get("DIGITS_PORT", "")])
        levels.append(environment.get("TF_CPP_MIN_LOG_LEVEL"))
        raise KeyboardInterrupt  # instead of the end of this process

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(os, "execve", become)
    monkeypatch.delenv("DIGITS_PORT", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    run(capsys, "train", "--seed", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    run(capsys, "evaluate", "--help")
    run(capsys, "compare", "4", "5", "--images", "mine")
    run(capsys, "promote", "6", "--force", "why")
    run(capsys, "rollback", "--models", "mine")
    run(capsys, "serve", "--port", "8171")
    python = [sys.executable, sys.executable, "-m"]
    assert became == [
        [*python, "training.train", "--seed", "1", ""],
        [*python, "training.evaluate", "--help", ""],
        [*python, "training.compare", "4", "5", "--images", "mine", ""],
        [*python, "training.promote", "6", "--force", "why", ""],
        [*python, "training.promote", "--rollback", "--models", "mine", ""],
        [*python, "app", "8171"],
    ]
    assert levels == ["1", *["0"] * 5]


def test_a_terminal_has_pictures(url: str) -> None:
    import pty  # noqa: PLC0415 -- not on every system

    terminal, end = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "PYTHONUTF8": "1", "DIGITS_URL": url}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "digits", "predict", SEVEN],
        cwd=ROOT,
        env=environment,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert process.wait(SECONDS) == 0
    assert shown.decode().count("▀") == 14 * 7
