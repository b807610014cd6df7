from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observe.request_id import SANE_REQUEST_ID, new_request_id, request_id_of


@pytest.mark.parametrize("sent", [b"r-1", b"a" * 128, b"A.b_c~d+e/f=", b"0"])
def test_a_sane_id_is_kept(sent: bytes) -> None:
    assert request_id_of([(b"host", b"digits"), (b"x-request-id", sent)]) == sent


@pytest.mark.parametrize(
    "sent", [b"", b"a" * 129, b"a b", b"a\tb", b"<b>", "é".encode("latin-1"), b"a;b", b"a\n"]
)
def test_another_is_replaced(sent: bytes) -> None:
    made = request_id_of([(b"x-request-id", sent)])
    assert made != sent
    assert len(made) == 32
    assert int(made, 16) >= 0


@given(st.lists(st.tuples(st.sampled_from([b"x-request-id", b"accept"]), st.binary(max_size=200))))
def test_an_id_is_always_sane(headers: list[tuple[bytes, bytes]]) -> None:
    assert SANE_REQUEST_ID.fullmatch(request_id_of(headers))


def test_new_ids_differ() -> None:
    assert len({new_request_id() for _ in range(1000)}) == 1000
