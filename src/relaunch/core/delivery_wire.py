"""The values of ``core.delivery`` as they travel, see io.relaunch.Subscriber, and the proof of a subscription's secret.

What comes from outside is checked here, field by field, once. Refuses to know what an event says.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from relaunch.core.delivery import Bookmark, Cursor, Entry, Gap, Item, Reset, Snapshot
from relaunch.core.varlink import Message
from relaunch.errors import ProtocolBroken

INTERFACE = "io.relaunch.Subscriber"
# What SQLite takes for an integer.
SEQUENCE_MAX = 2**63 - 1
EPOCH_CHARS_MAX = 64
Payload = Mapping[str, Any] | list[Any] | None


@dataclass(frozen=True, slots=True)
class Told:
    """An item with what it carries.

    Attributes:
        item: Where it stands.
        payload: The event of an entry, the jobs of a snapshot, as JSON values; else None.
    """

    item: Item
    payload: Payload = None


def proof(secret: str, *, nonce: str, subscription: str, source: str, fingerprint: str) -> str:
    """What shows that one has a secret, without showing it; good for one connection, source and certificate only.

    Args:
        secret: 32 bytes in hexadecimal.
        nonce: What the subscriber answered to ``Open``.
        subscription: Its id.
        source: Who calls.
        fingerprint: Of the certificate that the caller found.
    """
    lines = (INTERFACE, nonce, subscription, source, fingerprint)
    said = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    return hmac.new(bytes.fromhex(secret), said, "sha256").hexdigest()


def is_proof(given: str, expected: str) -> bool:
    """Whether two proofs are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def write_cursor(cursor: Cursor | None) -> Message | None:
    """A place, or none."""
    return None if cursor is None else {"epoch": cursor.epoch, "sequence": cursor.sequence}


def read_cursor(wire: object) -> Cursor:
    """A place.

    Raises:
        ProtocolBroken: It is not one.
    """
    if not isinstance(wire, Mapping):
        raise ProtocolBroken("a cursor must be an object")
    epoch = wire.get("epoch")
    if not isinstance(epoch, str) or len(epoch) > EPOCH_CHARS_MAX or not (epoch.isascii() and epoch.isalnum()):
        raise ProtocolBroken("a cursor needs an epoch of letters and digits")
    return Cursor(epoch, read_sequence(wire.get("sequence")))


def read_sequence(wire: object) -> int:
    """A sequence.

    Raises:
        ProtocolBroken: It is not one.
    """
    if isinstance(wire, bool) or not isinstance(wire, int) or not 0 <= wire <= SEQUENCE_MAX:
        raise ProtocolBroken("a sequence must be a whole number that is not negative")
    return wire


def write_bookmark(bookmark: Bookmark | None) -> Message | None:
    """A bookmark, or none."""
    return None if bookmark is None else {"at": write_cursor(bookmark.at), "previous": bookmark.previous}


def read_bookmark(wire: object) -> Bookmark | None:
    """A bookmark, or none.

    Raises:
        ProtocolBroken: It is neither.
    """
    if wire is None:
        return None
    if not isinstance(wire, Mapping):
        raise ProtocolBroken("a bookmark must be an object")
    return Bookmark(read_cursor(wire.get("at")), read_sequence(wire.get("previous")))


def write_item(told: Told) -> Message:
    """An item as it travels."""
    item, at = told.item, write_cursor(told.item.at)
    match item:
        case Snapshot():
            return {"kind": "snapshot", "at": at, "jobs": told.payload}
        case Entry(previous=previous):
            return {"kind": "entry", "at": at, "previous": previous, "event": told.payload}
        case Gap(previous=previous, first=first):
            return {"kind": "gap", "at": at, "previous": previous, "first": first}
        case Reset():
            return {"kind": "reset", "at": at}
        case _:
            assert_never(item)


def read_items(wire: object) -> Iterable[Told]:
    """Items as they came, in order; checked one by one as they are taken.

    Raises:
        ProtocolBroken: It is no list of items.
    """
    if not isinstance(wire, list):
        raise ProtocolBroken("items must be a list")
    return map(_read_item, wire)


def _read_item(wire: object) -> Told:
    if not isinstance(wire, Mapping):
        raise ProtocolBroken("an item must be an object")
    at = read_cursor(wire.get("at"))
    match wire.get("kind"):
        case "entry":
            event = wire.get("event")
            if not isinstance(event, Mapping):
                raise ProtocolBroken("an entry needs its event")
            return Told(Entry(at, read_sequence(wire.get("previous"))), event)
        case "gap":
            return Told(Gap(at, read_sequence(wire.get("previous")), read_sequence(wire.get("first"))))
        case "reset":
            return Told(Reset(at))
        case "snapshot":
            jobs = wire.get("jobs")
            if not isinstance(jobs, list) or not all(isinstance(job, Mapping) for job in jobs):
                raise ProtocolBroken("a snapshot needs its jobs")
            return Told(Snapshot(at), jobs)
    raise ProtocolBroken("an item is of no kind that is known")
