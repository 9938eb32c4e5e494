"""Framing. [W1] [W3]"""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import repeatable

from relaunch.core.varlink import MESSAGE_BYTES_MAX, Decoder, encode
from relaunch.errors import ProtocolBroken

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
messages = st.dictionaries(st.text(max_size=5), values, max_size=3)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[low:high] for low, high in pairwise(edges)]


@repeatable
@given(st.lists(messages, max_size=5), st.lists(st.integers(0), max_size=20))
def test_messages_arrive_however_their_bytes_are_cut(sent: list[dict[str, Any]], cuts: list[int]) -> None:
    """[W1]"""
    decoder = Decoder()
    data = b"".join(map(encode, sent))
    assert [message for piece in pieces(data, cuts) for message in decoder.feed(piece)] == sent
    assert decoder.pending_bytes == 0


def test_messages_arrive_byte_by_byte() -> None:
    """[W1]"""
    decoder = Decoder()
    data = encode({"method": "a.b"}) * 2
    assert [message for byte in data for message in decoder.feed(bytes([byte]))] == [{"method": "a.b"}] * 2


@repeatable
@given(messages)
def test_a_message_is_ascii_json_and_one_nul(message: dict[str, Any]) -> None:
    """[W1]"""
    raw = encode(message)
    assert raw.isascii()
    assert raw.index(b"\0") == len(raw) - 1
    assert json.loads(raw[:-1]) == message


def test_a_lone_surrogate_survives() -> None:
    """[W1] A file name that is not UTF-8 does travel."""
    assert Decoder().feed(encode({"path": "\udcff"})) == [{"path": "\udcff"}]


def test_what_waits_for_its_end_is_counted() -> None:
    """[W3]"""
    decoder = Decoder()
    assert decoder.feed(b'{"a"') == []
    assert decoder.pending_bytes == 4
    assert decoder.feed(b':1}\0{"') == [{"a": 1}]
    assert decoder.pending_bytes == 2


@pytest.mark.parametrize(
    "raw", [b"", b" ", b"[]", b"1", b"null", b'"a"', b"{", b"{}{}", b"\xff", b"[" * 100_000, b"\xff\xfe"]
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    """[W3]"""
    with pytest.raises(ProtocolBroken):
        Decoder().feed(raw + b"\0")


def test_a_number_too_long_to_be_converted_is_refused() -> None:
    """[W3]"""
    with pytest.raises(ProtocolBroken):
        Decoder().feed(b'{"a":' + b"9" * 5000 + b"}\0")


def test_the_bound_is_four_mebibytes() -> None:
    """[W3]"""
    assert MESSAGE_BYTES_MAX == 4 * 2**20
    whole = b'{"a":"' + b"x" * (MESSAGE_BYTES_MAX - 8) + b'"}'
    assert len(Decoder().feed(whole + b"\0")) == 1
    with pytest.raises(ProtocolBroken, match="over the bound"):
        Decoder().feed(whole + b" \0")


@repeatable
@given(st.lists(st.integers(0), max_size=20))
def test_a_message_over_the_bound_is_refused_before_it_ends(cuts: list[int]) -> None:
    """[W3] However it is cut, and without its NUL."""
    decoder = Decoder(message_bytes_max=16)
    assert decoder.feed(b'{"a":"123456789"') == []
    with pytest.raises(ProtocolBroken, match="bound of 16"):
        list(map(decoder.feed, pieces(b"x" * 50, cuts)))


def test_the_bound_is_of_one_message_not_of_all() -> None:
    """[W3]"""
    assert len(Decoder(message_bytes_max=8).feed(b'{"a":1}\0' * 100)) == 100
