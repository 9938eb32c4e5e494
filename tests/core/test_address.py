"""Addresses as they are written and read. [D13]"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaunch.errors import Usage
from relaunch.transport.address import PORT, Address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1:9001", "10.0.0.1", 9001),
        ("10.0.0.1", "10.0.0.1", PORT),
        ("node-1.example_2.org:1", "node-1.example_2.org", 1),
        ("node", "node", PORT),
        (":9001", "", 9001),
        (":0", "", 0),
        ("[::1]:9001", "::1", 9001),
        ("[::1]", "::1", PORT),
        ("::1", "::1", PORT),
        ("::", "::", PORT),
        ("fe80::1%eth0", "fe80::1%eth0", PORT),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    """[D13]"""
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            "node:",
            "node:x",
            "node:-1",
            "node:65536",
            "node:999999",
            "node:\uff11",
            "9001",
            "a b:1",
            "a/b",
            "a:1:2",
        ),
        *(
            "[::1",
            "[::1]9001",
            "[::1]:",
            "[node]:1",
            "[]:1",
            "::1]:9",
            "fe80::1%",
            "fe80::1%a b",
            "é",
            "a\0:1",
            "x" * 254,
        ),
        "[::1]:x",
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    """[D13]"""
    with pytest.raises(Usage) as caught:
        parse_address(text)
    assert "address" in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@given(st.sampled_from(["", "node", "10.0.0.1", "::1", "fe80::1%eth0"]), st.integers(0, 65535))
def test_an_address_is_read_as_it_is_written(host: str, port: int) -> None:
    """[D13]"""
    address = Address(host, port)
    assert parse_address(str(address)) == address


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """[D13]"""
    try:
        address = parse_address(text)
    except Usage:
        return
    assert parse_address(str(address)) == address
