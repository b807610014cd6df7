"""Answers are found in every protocol; a server's processes are found by their mark."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from benchmarks import processes, servers

TRITON = (
    '{"model_name":"digits","model_version":"1","outputs":['
    '{"name":"label","datatype":"INT64","shape":[1,1],"data":[7]},'
    '{"name":"probabilities","datatype":"FP32","shape":[1,2],"data":[0.1,9e-1]}]}'
)


@pytest.mark.parametrize(
    "text",
    [
        '{"predictions":[{"label":7,"confidence":0.9,"probabilities":[0.1,9e-1]}]}',
        '[{"label": 7, "probabilities": [0.1, 0.9]}]',
        '[[{"label": 7, "probabilities": [0.1, 0.9]}]]',
        '{"outputs":[{"data":["{\\"label\\": 7, \\"probabilities\\": [0.1, 0.9]}"]}]}',
        TRITON,
    ],
    ids=["digits", "plain", "nested", "string tensor", "tensors"],
)
def test_answers_are_found_in_any_protocol(text: str) -> None:
    assert servers.parse_answer(text) == (7, [0.1, 0.9])


def test_no_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="No label"):
        servers.parse_answer('{"label":null,"probabilities":[]}')


def test_seconds_by_step_add_up_over_labels() -> None:
    metrics = (
        'digits_step_duration_seconds_sum{step="decode",where="loop"} 1.5\n'
        'digits_step_duration_seconds_sum{step="decode",where="thread"} 2.0\n'
        'digits_step_duration_seconds_sum{step="inference"} 0.25\n'
        'digits_step_duration_seconds_count{step="decode"} 7.0\n'
        'digits_request_seconds_sum{route="/predict"} 9.0\n'
    )
    assert servers.step_seconds(metrics) == {"decode": 3.5, "inference": 0.25}
    assert servers.step_seconds("") == {}


def test_processes_are_found_by_their_mark() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env=os.environ | {processes.MARK: "test-mark"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert processes.marked("test-mark") == [process.pid]
        assert 1 < processes.megabytes([process.pid]) < 1000
        assert 1 < processes.anonymous_megabytes([process.pid]) < 1000
        assert processes.core_seconds([process.pid]) < 60
        process.kill()
    assert processes.marked("test-mark") == []
    assert processes.core_seconds([process.pid]) == 0


def test_owner_of_a_connection_has_accepted_it() -> None:
    me = os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert processes.owners(port, [me]) == set()
            accepted, _ = listener.accept()
            with accepted:
                assert processes.owners(port, [me]) == {me}
                assert processes.owners(port, []) == set()
