"""The newest events of the journal, in memory, for those who are told at once.

Bounded in number and in bytes; an event is put into words once, when the first subscriber wants it. Refuses to know
who reads, and to read from the disk.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from relaunch.core.delivery import Cursor
from relaunch.launcher.journal import StoredEvent
from relaunch.launcher.telling import event_text

EVENTS_MAX = 4_096
BYTES_MAX = 4 * 1024 * 1024
# In one answer: no reader holds up the loop for longer than it takes to look at so many.
LOOKED_AT_MAX = 64
Wanted = Callable[[str, str | None], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    Attributes:
        through: How far was read.
        events: Sequence and text of each that is wanted.
    """

    through: int
    events: list[tuple[int, str]]


class Recent:
    """The newest events of one journal.

    Args:
        source: The ``source`` of every event.
        at: The last event committed.
    """

    def __init__(self, source: str, at: Cursor) -> None:
        self.at = at
        self._source = source
        self._events: dict[int, StoredEvent] = {}
        self._texts: dict[int, str] = {}
        self._first = at.sequence + 1
        self._bytes = 0

    def add(self, events: list[StoredEvent]) -> None:
        """Take in what was committed: these events, in order."""
        events = [event for event in events if event.epoch == events[-1].epoch]
        if events[0].epoch != self.at.epoch or events[0].sequence != self.at.sequence + 1:
            self._events.clear()
            self._texts.clear()
            self._first, self._bytes = events[0].sequence, 0
        for event in events:
            self._events[event.sequence] = event
            self._bytes += len(event.data)
        self.at = Cursor(events[-1].epoch, events[-1].sequence)
        while len(self._events) > EVENTS_MAX or self._bytes > BYTES_MAX:
            self._drop_first()

    def forget(self) -> None:
        """Nobody reads: keep nothing."""
        self._events.clear()
        self._texts.clear()
        self._first, self._bytes = self.at.sequence + 1, 0

    def find(self, after: int, wanted: Wanted, count: int, bytes_max: int) -> Found | None:
        """What stands after a sequence, and is wanted.

        Args:
            after: Begin after it.
            wanted: Given kind and label.
            count: At most so many.
            bytes_max: At most so many bytes of text.

        Returns:
            None where that place is not in memory any more.
        """
        if after + 1 < self._first:
            return None
        until = min(self.at.sequence, after + LOOKED_AT_MAX)
        return choose(
            (self._events[number] for number in range(after + 1, until + 1)),
            after,
            wanted,
            self._text,
            Bounds(count, bytes_max),
        )

    def _text(self, event: StoredEvent) -> str:
        text = self._texts.get(event.sequence)
        if text is None:
            text = self._texts[event.sequence] = event_text(self._source, event)
            self._bytes += len(text)
        return text

    def _drop_first(self) -> None:
        event = self._events.pop(self._first)
        self._bytes -= len(event.data) + len(self._texts.pop(self._first, ""))
        self._first += 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is taken at most: in number, and in bytes of text."""

    count: int
    bytes_max: int


def choose(
    events: Iterable[StoredEvent], after: int, wanted: Wanted, words: Callable[[StoredEvent], str], bounds: Bounds
) -> Found:
    """Of events in order, those that are wanted, each put in words, until a bound is reached."""
    found: list[tuple[int, str]] = []
    through, left = after, bounds.bytes_max
    for event in events:
        if wanted(event.kind, event.label):
            if len(found) == bounds.count:
                break
            text = words(event)
            left -= len(text)
            if left < 0:
                break
            found.append((event.sequence, text))
        through = event.sequence
    return Found(through, found)
