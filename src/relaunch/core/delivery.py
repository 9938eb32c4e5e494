"""The stream from a launcher's journal to one subscriber: the places in it, and what is told there.

Rules, each a clause of docs/protocol.md:
    1. Whatever is told says where the reader stands after it, and where it must have stood before it (D2).
    2. What cannot be told any more is told as a gap or a reset, never as silence (D5, D6).

``core.sending`` makes these values in the launcher, ``core.receiving`` takes them in the subscriber. Refuses to know
what an event says, and how any of this is written on the wire.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a journal.

    Attributes:
        epoch: The life of the journal.
        sequence: The last event before this place; 0 is the beginning.
    """

    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is, with all events up to ``at`` in it; the stream goes on after them."""

    at: Cursor


@dataclass(frozen=True, slots=True)
class Entry:
    """The event at ``at``; of those after ``previous`` and before it none matches."""

    at: Cursor
    previous: int


@dataclass(frozen=True, slots=True)
class Gap:
    """The events from ``first`` to ``at`` were compacted away; of those after ``previous`` and before, none matches."""

    at: Cursor
    previous: int
    first: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The journal is another one, which begins at ``at``; what the last one had after the reader's place is lost."""

    at: Cursor


@dataclass(frozen=True, slots=True)
class Bookmark:
    """No event after ``previous`` up to ``at`` matches. The application is not told."""

    at: Cursor
    previous: int


Item = Snapshot | Entry | Gap | Reset
