"""The values of a delivery as they travel, and the proof of a secret. [D2] [D22] [D23]"""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import repeatable

from relaunch.core import delivery_wire as wire
from relaunch.core.delivery import Bookmark, Cursor, Entry, Gap, Reset, Snapshot
from relaunch.core.delivery_wire import Told
from relaunch.errors import ProtocolBroken

AT = {"epoch": "e1", "sequence": 7}
NONCE, SECRET, FINGERPRINT = "1" * 64, "2" * 64, "3" * 64

sequences = st.integers(0, wire.SEQUENCE_MAX)
cursors = st.builds(Cursor, st.text("0123456789abcdefXYZ", min_size=1, max_size=64), sequences)
objects = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3)
tolds = st.one_of(
    st.builds(Told, st.builds(Entry, cursors, sequences), objects),
    st.builds(Told, st.builds(Gap, cursors, sequences, sequences)),
    st.builds(Told, st.builds(Reset, cursors)),
    st.builds(Told, st.builds(Snapshot, cursors), st.lists(objects, max_size=3)),
)


@repeatable
@given(st.lists(tolds, max_size=4))
def test_items_survive_the_wire(told: list[Told]) -> None:
    """[D2]"""
    travelled = json.loads(json.dumps([wire.write_item(one) for one in told]))
    assert list(wire.read_items(travelled)) == told


@repeatable
@given(st.none() | st.builds(Bookmark, cursors, sequences))
def test_bookmarks_survive_the_wire(bookmark: Bookmark | None) -> None:
    """[D2]"""
    assert wire.read_bookmark(json.loads(json.dumps(wire.write_bookmark(bookmark)))) == bookmark


def test_a_place_survives_the_wire() -> None:
    """[D3]"""
    assert wire.write_cursor(None) is None
    assert wire.write_cursor(Cursor("e1", 7)) == AT
    assert wire.read_cursor(AT | {"more": 1}) == Cursor("e1", 7)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "e1/7",
        {},
        {"epoch": "e1"},
        {"sequence": 7},
        *({"epoch": epoch, "sequence": 7} for epoch in (None, 1, "", "a/b", "a b", "ä", "\0", "a" * 65)),
        *({"epoch": "e1", "sequence": sequence} for sequence in (None, True, -1, 1.0, "7", 2**63)),
    ],
)
def test_what_is_no_place_is_refused(said: object) -> None:
    """[D23]"""
    with pytest.raises(ProtocolBroken):
        wire.read_cursor(said)


@pytest.mark.parametrize("said", [1, [], {}, {"at": AT}, {"at": AT, "previous": -1}, {"previous": 1}])
def test_what_is_no_bookmark_is_refused(said: object) -> None:
    """[D23]"""
    with pytest.raises(ProtocolBroken):
        wire.read_bookmark(said)


@pytest.mark.parametrize(
    "item",
    [
        None,
        1,
        {},
        {"kind": "entry"},
        {"at": AT},
        {"kind": "other", "at": AT},
        {"kind": ["entry"], "at": AT},
        {"kind": "entry", "at": AT, "previous": 6},
        {"kind": "entry", "at": AT, "previous": 6, "event": []},
        {"kind": "entry", "at": AT, "event": {}},
        {"kind": "gap", "at": AT, "previous": 6},
        {"kind": "gap", "at": AT, "first": 6},
        {"kind": "gap", "at": AT, "previous": 6, "first": None},
        {"kind": "snapshot", "at": AT},
        {"kind": "snapshot", "at": AT, "jobs": {}},
        {"kind": "snapshot", "at": AT, "jobs": [1]},
        {"kind": "reset"},
    ],
)
def test_what_is_no_item_is_refused_and_those_before_it_are_taken(item: Any) -> None:
    """[D23]"""
    items = iter(wire.read_items([{"kind": "reset", "at": AT}, item]))
    assert next(items) == Told(Reset(Cursor("e1", 7)))
    with pytest.raises(ProtocolBroken):
        next(items)


@pytest.mark.parametrize("items", [None, {}, "items", 1])
def test_what_is_no_list_of_items_is_refused(items: object) -> None:
    """[D23]"""
    with pytest.raises(ProtocolBroken):
        wire.read_items(items)


def proof(**other: str) -> str:
    said = {"nonce": NONCE, "subscription": "s", "source": "//host", "fingerprint": FINGERPRINT, **other}
    return wire.proof(said.pop("secret", SECRET), **said)


def test_a_proof_is_what_the_interface_says() -> None:
    """[D22]"""
    said = f"io.relaunch.Subscriber\n{NONCE}\ns\n//host\n{FINGERPRINT}\n".encode()
    assert proof() == hmac.new(bytes.fromhex(SECRET), said, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("part", ["secret", "nonce", "subscription", "source", "fingerprint"])
def test_a_proof_is_good_for_one_of_each_only(part: str) -> None:
    """[D22]"""
    assert proof() == proof()
    assert proof(**{part: "4" * 64}) != proof()


def test_proofs_are_compared() -> None:
    """[D22] Whatever is said instead of one."""
    assert wire.is_proof(proof(), proof())
    assert not wire.is_proof(proof(nonce="5" * 64), proof())
    assert not wire.is_proof("", proof())
    assert not wire.is_proof("\udcff\N{SNOWMAN}", proof())
    assert proof(source="\udcff") != proof()
