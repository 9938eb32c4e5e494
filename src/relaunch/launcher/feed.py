"""Reads the journal for those who follow it: the events asked for, a mark where compaction left a gap, then what comes.

Knows sequences and patterns. Refuses to know who reads; a reader that is slow reads from the disk, and costs no memory.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relaunch.event import Event
from relaunch.labels import compile_pattern
from relaunch.launcher.journal import READ_MAX, Journal, StoredEvent
from relaunch.subscription import Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody wants to read.

    Attributes:
        patterns: Labels or globs; none at all chooses every event, those of the launcher included.
        kinds: As ``relaunch.subscription.Filter`` takes them; an event without a label then passes every pattern, as
            it does there. None chooses every kind.
        since: Begin after this sequence.
        since_at: Begin at this wall time.
        count: Only so many: the first from where it begins, or with no beginning given the last.
        follow: Go on with what comes.
        epoch: Whose sequence ``since`` is; of another epoch than the journal's, reading begins at the beginning.
    """

    patterns: Sequence[str] = ()
    kinds: Sequence[str] | None = None
    since: int | None = None
    since_at: float | None = None
    count: int | None = None
    follow: bool = False
    epoch: str | None = None


Wanted = Callable[[StoredEvent], bool]


class Feed:
    """The events of one journal, for any number of readers.

    Args:
        source: The ``source`` of every event, see ``relaunch.event.Event``.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._waiting: set[asyncio.Event] = set()
        self._closed = False

    def committed(self, _events: list[StoredEvent]) -> None:
        """Told of each commit."""
        self._wake()

    def close(self) -> None:
        """End every follower once it has read what there is."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            waiting.set()

    async def read(self, journal: Journal, request: Request) -> AsyncIterator[list[Event]]:
        """Events in order, in pieces, a mark first where compaction has left a gap.

        Raises:
            BadPattern: One is malformed.
        """
        wanted = _wanted(request)
        since = await self._beginning(journal, wanted, request)
        # Who follows is shown the last so many, and then all that comes.
        left = None if request.follow and _counts_from_the_end(request) else request.count
        epoch = journal.epoch
        grown = asyncio.Event()
        self._waiting.add(grown)
        try:
            while True:
                closed = self._closed
                grown.clear()
                if journal.epoch != epoch:
                    epoch, since = journal.epoch, 0
                while left != 0 and (stored := await journal.read(since)):
                    if stored[0].epoch != epoch:
                        epoch, since = stored[0].epoch, 0
                        continue
                    if stored[0].sequence > since + 1:
                        yield [self._gap(stored[0], since)]
                    since = stored[-1].sequence
                    events = [event_of(self._source, one) for one in stored if wanted(one)][:left]
                    left = None if left is None else left - len(events)
                    if events:
                        yield events
                if left == 0 or not request.follow or closed:
                    return
                await grown.wait()
        finally:
            self._waiting.discard(grown)

    async def _beginning(self, journal: Journal, wanted: Wanted, request: Request) -> int:
        """The sequence after which reading begins."""
        if _counts_from_the_end(request):
            return await self._before_the_last(journal, wanted, request.count or 0)
        if request.epoch not in (None, journal.epoch):
            return 0
        if request.since_at is not None:
            return max(request.since or 0, await journal.sequence_at(request.since_at))
        if request.since is not None:
            return request.since
        return journal.last_sequence if request.follow else 0

    async def _before_the_last(self, journal: Journal, wanted: Wanted, count: int) -> int:
        """The sequence after which the last ``count`` matching events stand."""
        until, found = journal.last_sequence, 0
        if count == 0:
            return until
        while until > journal.compacted_to:
            begin = max(journal.compacted_to, until - READ_MAX)
            matching: list[int] = []
            at = begin
            while at < until and (stored := await journal.read(at, until - at)):
                at = stored[-1].sequence
                matching += [one.sequence for one in stored if one.sequence <= until and wanted(one)]
            if found + len(matching) >= count:
                return matching[found - count] - 1
            found += len(matching)
            until = begin
        return journal.compacted_to

    def _gap(self, first: StoredEvent, since: int) -> Event:
        return Event(
            source=self._source,
            epoch=first.epoch,
            sequence=first.sequence - 1,
            kind="journal.compacted",
            label=None,
            at=first.at,
            data={"from": since + 1, "to": first.sequence - 1},
        )


def _counts_from_the_end(request: Request) -> bool:
    return request.count is not None and request.since is None and request.since_at is None


def event_of(source: str, stored: StoredEvent) -> Event:
    """A stored event as it is told; what damage made of one that SQLite did not see is told for what it is."""
    return Event(
        source=source,
        epoch=stored.epoch,
        sequence=stored.sequence,
        kind=stored.kind,
        label=stored.label,
        at=stored.at,
        data={"boot_id": stored.boot_id, **_told(stored.data)},
    )


def _told(text: str) -> dict[str, Any]:
    """What an event says; a text that was changed on the disk is passed on for what it is."""
    try:
        told = json.loads(text)
    except ValueError:
        return {"damaged": text}
    return told if isinstance(told, dict) else {"damaged": text}


def _wanted(request: Request) -> Wanted:
    if request.kinds is not None:
        chosen = Filter(request.patterns, request.kinds)
        return lambda stored: chosen(stored.kind, stored.label)
    tests = [compile_pattern(pattern) for pattern in request.patterns]
    return lambda stored: not tests or (stored.label is not None and any(test(stored.label) for test in tests))
