from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs
from uvicorn.config import STARTUP_FAILURE

from app.server.shutdown import OVERDUE, SIGNALS
from app.server.supervisor import MAX_FAILURES, Config, Pulse, Server, Workers, bind, run
from tests.conftest import ROOT
from tests.faults.server import Reply, read_reply, request, wait_until
from tests.server.fake import DIES_WITH

SECONDS = 60
"""How long a test waits for what would otherwise hang."""


@dataclass
class Fake:
    """A running server with a fake application."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log; a line that is no JSON, such as a traceback's, would fail."""
        text = (self.folder / "log").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    @property
    def port(self) -> int:
        events = [line["event"] for line in self.lines]
        found = [event for event in events if event.startswith("ready: open http://localhost:")]
        return int(found[0].split(":")[3].split()[0]) if found else 0

    @contextmanager
    def asking(self, path: str) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            connection.sendall(request("GET", path))
            yield connection

    def get(self, path: str) -> Reply:
        with self.asking(path) as connection:
            return read_reply(connection)

    def worker(self) -> int:
        """A worker that answers."""
        return int(self.get("/").body)

    def workers(self) -> set[int]:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(one) for one in children if is_worker(int(one))}

    def wait(self) -> int:
        """The exit status, when nothing is left behind."""
        status = self.process.wait(SECONDS)
        assert list((self.folder / "tmp").iterdir()) == []
        return status


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return False


@contextmanager
def running(folder: Path, factory: str, workers: int, *options: object) -> Iterator[Fake]:
    (folder / "tmp").mkdir()
    environment = {**os.environ, "FAKE_FOLDER": str(folder), "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", "tests.server.fake", factory, str(workers)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *map(str, options)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        yield Fake(process, folder)
    finally:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def serving(folder: Path, factory: str, workers: int, *options: object) -> Iterator[Fake]:
    with running(folder, factory, workers, *options) as fake:
        wait_until(lambda: fake.process.poll() is not None or fake.port, SECONDS)
        assert fake.process.poll() is None, fake.lines
        wait_until(lambda: len(fake.said("Application startup complete.")) == workers, SECONDS)
        yield fake


def test_workers_that_never_become_ready_end_it(tmp_path: Path) -> None:
    with running(tmp_path, "dying", 2) as fake:
        assert fake.wait() == STARTUP_FAILURE
        (line,) = [line for line in fake.lines if line["level"] == "critical"]
        assert line["event"] == "no worker comes to be ready"
        assert (line["ended"], line["last_exit_code"]) == (MAX_FAILURES, DIES_WITH)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("factory", "says", "reason"),
    [
        ("failing", "no model to serve", "none"),
        (
            "importing",
            "the application can't be loaded",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
    ],
)
def test_an_application_that_fails_is_not_started_again(
    tmp_path: Path, factory: str, says: str, reason: str, workers: int
) -> None:
    with running(tmp_path, factory, workers) as fake:
        assert fake.wait() == STARTUP_FAILURE
        said = fake.said(says)
        assert 1 <= len(said) <= workers
        assert all(line["reason"] == reason for line in said)
        assert len(fake.said("no worker comes to be ready")) == workers - 1


def test_a_worker_that_dies_is_replaced_as_soon_as_that_goes(tmp_path: Path) -> None:
    with serving(tmp_path, "fragile", 2) as fake:
        before = fake.workers()
        (tmp_path / "broken").touch()
        killed = fake.worker()
        os.kill(killed, signal.SIGKILL)
        replaced = "a worker has ended and is replaced"
        wait_until(lambda: len(fake.said(replaced)) > MAX_FAILURES, SECONDS)
        ends = [(line["pid"], line["exit_code"]) for line in fake.said(replaced)]
        assert ends[0] == (killed, -signal.SIGKILL)
        assert {exit_code for _, exit_code in ends[1:]} == {DIES_WITH}
        assert fake.worker() in before - {killed}
        (tmp_path / "broken").unlink()
        wait_until(lambda: fake.worker() not in before, SECONDS)
        fake.process.send_signal(signal.SIGINT)
        assert fake.wait() == 0


def test_the_levels_of_a_killed_worker_go_with_it(tmp_path: Path) -> None:
    level = b"digits_http_requests_in_progress "
    with serving(tmp_path, "sound", 2) as fake, fake.asking("/metered"):
        holder = int(wait_until(lambda: (f := tmp_path / "slow").exists() and f.read_text()))
        assert level + b"1.0" in fake.get("/metrics").body
        os.kill(holder, signal.SIGKILL)
        wait_until(lambda: level + b"0.0" in fake.get("/metrics").body)
        wait_until(lambda: len(fake.said("Application startup complete.")) == 3, SECONDS)
        assert level + b"0.0" in fake.get("/metrics").body
        fake.process.terminate()
        assert fake.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_have_no_line(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "sound", workers) as fake:
        before = len(fake.lines)
        for _ in range(5):
            assert fake.get("/").status == 200
        fake.process.terminate()
        fake.wait()
        assert not any("HTTP" in line["event"] for line in fake.lines[before:])


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_all_processes_lets_accepted_requests_be_answered(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path, "sound", 2) as fake, fake.asking("/slow") as connection:
        wait_until((tmp_path / "slow").exists)
        os.killpg(fake.process.pid, number)  # as Ctrl+C and systemd do
        wait_until(lambda: len(fake.said("Shutting down")) == 2, SECONDS)
        (tmp_path / "open").touch()
        assert read_reply(connection).body == b"seven"
        assert fake.wait() == 0
        assert len(draining := fake.said("draining")) == 2
        assert not any("request_id" in line for line in draining)


def is_refused(port: int) -> bool:
    """Whether a client can't connect, rather than be left waiting."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_no_client_connects_to_a_service_that_accepts_no_more(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "sound", workers) as fake:
        port = fake.port
        with fake.asking("/slow") as asked:
            wait_until((tmp_path / "slow").exists, SECONDS)
            fake.process.terminate()
            wait_until(lambda: is_refused(port), SECONDS)
            (tmp_path / "open").touch()
            assert read_reply(asked).body == b"seven"
        fake.wait()


def test_workers_whose_supervisor_is_killed_end_too(tmp_path: Path) -> None:
    with serving(tmp_path, "sound", 2) as fake:
        pids = fake.workers()
        fake.process.kill()
        wait_until(lambda: len(fake.said("draining")) == 2, SECONDS)
        wait_until(lambda: not any(map(is_worker, pids)), SECONDS)


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_second_signal_stops_it_at_once(
    tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    with serving(tmp_path, "lasting", workers) as fake:
        pids = fake.workers()
        fake.process.send_signal(number)
        wait_until(lambda: len(fake.said("draining")) == workers, SECONDS)
        fake.process.send_signal(number)
        assert fake.wait() == (128 + number if workers == 1 else 0)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stuck_thread_does_not_keep_the_process(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "stuck", workers) as fake:
        fake.process.terminate()
        assert fake.wait() == (OVERDUE if workers == 1 else 0)
        said = fake.said("the drain is over, but threads are not; the process ends without them")
        assert len(said) == workers


def test_a_worker_whose_event_loop_is_stuck_is_killed_at_the_limit(tmp_path: Path) -> None:
    with serving(tmp_path, "sound", 2, 1) as fake, fake.asking("/block"):
        wait_until((tmp_path / "slow").exists)
        fake.process.terminate()
        assert fake.wait() == 0
        # The other may be late, too, on a machine that is busy.
        assert fake.said("a worker does not stop and is killed")


def test_a_client_that_leaves_its_answer_unread_is_no_traceback(tmp_path: Path) -> None:
    with serving(tmp_path, "sound", 1, 1) as fake, fake.asking("/long"):
        wait_until((tmp_path / "slow").exists)
        fake.process.terminate()
        assert fake.wait() == -signal.SIGTERM
        assert all("exception" not in line for line in fake.lines)
        (line,) = fake.said("client left")
        assert line["reason"] == "CancelledError"


@pytest.fixture
def config() -> Config:
    return Config(
        "tests.server.fake:sound",
        configure_logging=lambda: None,
        port=0,
        workers=2,
        loop="app.server.listener:Loop",
    )


@pytest.fixture
def workers(config: Config) -> Iterator[Workers]:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield Workers(config, [])
    finally:
        for number, handler in before.items():
            if handler is not signal.getsignal(number):
                signal.signal(number, handler)


def test_a_silent_worker_is_killed(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Mock(exitcode=None, pid=7)
    silent.parent_conn.poll.return_value = False
    other = Mock(exitcode=None, pid=8)
    started = Mock(return_value=Mock(exitcode=None))
    monkeypatch.setattr("app.server.supervisor.Process", started)
    workers.processes = [silent, other]
    workers._pulses = {silent: Pulse(answered_at=-(10.0**9), is_asked=True)}
    with capture_logs() as lines:
        workers.keep_subprocess_alive()
    assert silent.kill.called
    assert not other.kill.called
    assert workers.processes == [started.return_value, other]
    assert started.return_value.start.called
    assert lines[0]["event"] == "a worker is silent and is killed"
    assert lines[0]["seconds"] > time.monotonic()


def test_an_address_in_use_is_known_before_anything_starts(config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, capture_logs() as lines:
        config.port = other.getsockname()[1]
        assert not run(config, lambda: pytest.fail("started"))
    (line,) = lines
    assert line["event"] == "the address can't be used"
    assert (line["address"], line["reason"]) == (
        f"127.0.0.1:{config.port}",
        "Address already in use",
    )


def test_an_address_of_another_machine_is_refused(config: Config) -> None:
    config.host = "192.0.2.1"  # for documentation (RFC 5737)
    with capture_logs() as lines:
        assert not run(config, lambda: pytest.fail("started"))
    assert lines[0]["reason"] == "Cannot assign requested address"


def test_who_binds_first_but_listens_later_says_so(config: Config) -> None:
    """Two servers that start together: the address is free until either has loaded."""
    config.workers = 1
    with bind(config) as early, capture_logs() as lines:
        config.port = early.getsockname()[1]
        with bind(config) as late:
            early.listen()
            with pytest.raises(SystemExit) as ended:
                Server(config).run([late])
    assert ended.value.code == STARTUP_FAILURE
    assert lines[-1]["event"] == "no connection can be accepted"
