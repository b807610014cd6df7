from __future__ import annotations

import pytest

from app.api.options import Options, Query, parse_options, parse_query
from app.errors import BadParameter, UnsupportedEncoding


def options_of(*headers: tuple[bytes, bytes]) -> Options:
    return parse_options({"headers": headers, "query_string": b""}, deadline_seconds=30)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", Query()),
        (b"normalize=true", Query()),
        (b"normalize=0", Query(normalize=False)),
        (b"normalize=False&include=seen", Query(normalize=False, include_seen=True)),
        (b"include=seen&include=seen", Query(include_seen=True)),
    ],
)
def test_queries(query: bytes, expected: Query) -> None:
    assert parse_query(query) == expected


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (b"normalize=perhaps", "`normalize`"),
        (b"normalize=", "`normalize`"),
        (b"include=everything", "`include`"),
        (b"include=seen&include=x", "`include`"),
        (b"normalise=false", "normalize and include"),
        (b"secret", "normalize and include"),
    ],
)
def test_a_bad_query_names_the_parameters_and_repeats_nothing(query: bytes, names: str) -> None:
    with pytest.raises(BadParameter) as raised:
        parse_query(query)
    assert names in raised.value.detail
    assert "secret" not in raised.value.detail


def test_headers() -> None:
    options = options_of((b"content-type", b"image/png"), (b"content-length", b"12"))
    assert (options.content_type, options.content_length) == (b"image/png", 12)
    assert options_of().content_length is None


@pytest.mark.parametrize(("sent", "used"), [(b"2", 2), (b"0.5", 0.5), (b"1000", 30)])
def test_a_deadline_is_at_most_the_setting(sent: bytes, used: float) -> None:
    assert options_of((b"x-deadline-seconds", sent)).deadline_seconds == used


@pytest.mark.parametrize("sent", [b"0", b"-1", b"soon", b"nan", b"inf", b""])
def test_what_is_no_deadline(sent: bytes) -> None:
    with pytest.raises(BadParameter, match="X-Deadline-Seconds"):
        options_of((b"x-deadline-seconds", sent))


def test_a_compressed_body_is_refused() -> None:
    assert options_of((b"content-encoding", b"Identity")).content_length is None
    for encoding in (b"gzip", b"identity, br"):
        with pytest.raises(UnsupportedEncoding):
            options_of((b"content-encoding", encoding))
