"""`wrk`'s output is read, and what it can't say is an error."""

from __future__ import annotations

import pytest

from benchmarks import wrk

OUTPUT = """Running 3s test @ http://127.0.0.1:8000/predict
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    29.52ms    6.32ms  81.15ms   78.57%
    Req/Sec     2.17k   141.86     2.39k    70.00%
  Latency Distribution
     50%  870.00us
     75%   31.61ms
     90%   36.94ms
     99%    1.20s
  6481 requests in 3.00s, 2.15MB read
Requests/sec:   2158.41
Transfer/sec:    733.42KB
"""
ERRORS = "  Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 481\n"


def test_figures_are_read() -> None:
    assert wrk.parse(OUTPUT) == {
        "requests_per_second": pytest.approx(6481 / 3),
        "requests": 6481.0,
        "p50_ms": 0.87,
        "p99_ms": 1200.0,
        "failed": 0.0,
    }


def test_refusals_are_failures_and_no_answers() -> None:
    figures = wrk.parse(OUTPUT + ERRORS)
    assert figures["failed"] == 481 + 3
    assert figures["requests"] == 6000
    assert figures["requests_per_second"] == pytest.approx(2000)


def test_other_output_is_an_error() -> None:
    with pytest.raises(ValueError, match="did not print"):
        wrk.parse("unable to connect")
