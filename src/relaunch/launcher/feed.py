"""Reads the journal for those who follow it: the events asked for, a mark where compaction left a gap, then what comes.

Knows sequences and patterns. Refuses to know who reads; a reader that is slow reads from the disk, and costs no memory.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from relaunch.event import Event
from relaunch.labels import compile_pattern
from relaunch.launcher.journal import READ_MAX, Journal, StoredEvent


class Feed:
    """The events of one journal.

    Args:
        source: The ``source`` of every event, see ``relaunch.event.Event``.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._journal: Journal | None = None
        self._waiting: set[asyncio.Event] = set()
        self.closed = False

    def attach(self, journal: Journal) -> None:
        """Told once which journal it reads."""
        self._journal = journal

    def committed(self, _events: list[StoredEvent]) -> None:
        """Told of each commit."""
        self._wake()

    def close(self) -> None:
        """End every follower once it has read what there is."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            waiting.set()

    async def read(
        self, patterns: list[str], since: int | None, since_at: float | None, count: int | None, follow: bool
    ) -> AsyncIterator[list[Event]]:
        """Events in order, in pieces.

        Args:
            patterns: Labels or globs; none at all chooses every event, those of the launcher included.
            since: Begin after this sequence.
            since_at: Begin at this wall time.
            count: Only so many: the first from where it begins, or with no beginning given the last.
            follow: Go on with what comes.

        Raises:
            BadPattern: One is malformed.
        """
        journal = self._journal
        assert journal is not None
        tests = [compile_pattern(pattern) for pattern in patterns]
        backlog: int | None = None
        if since_at is not None:
            since = max(since or 0, await journal.sequence_at(since_at))
        if since is None:
            if follow and count is None:
                since = journal.last_sequence
            elif count is not None:
                since, backlog = await self._start_of_last(journal, tests, count), count
            else:
                since = 0
        left = count if backlog is None else None
        grown = asyncio.Event()
        self._waiting.add(grown)
        try:
            while True:
                closed = self.closed
                grown.clear()
                if since < journal.compacted_to:
                    yield [self._gap(journal, since)]
                    since = journal.compacted_to
                while stored := await journal.read(since):
                    since = stored[-1].sequence
                    events = [self._event(one) for one in stored if _matches(tests, one)]
                    if left is not None:
                        events, left = events[:left], left - len(events[:left])
                    if events:
                        yield events
                    if left == 0:
                        return
                if not follow or closed:
                    return
                await grown.wait()
        finally:
            self._waiting.discard(grown)

    async def _start_of_last(self, journal: Journal, tests: list[Callable[[str], bool]], count: int) -> int:
        """The sequence after which the last ``count`` matching events stand."""
        if count == 0:
            return journal.last_sequence
        until, found = journal.last_sequence, 0
        while until > journal.compacted_to:
            begin = max(journal.compacted_to, until - READ_MAX)
            stored = [one for one in await journal.read(begin, until - begin) if one.sequence <= until]
            for one in reversed(stored):
                found += _matches(tests, one)
                if found == count:
                    return one.sequence - 1
            until = begin
        return journal.compacted_to

    def _event(self, stored: StoredEvent) -> Event:
        data = {"boot_id": stored.boot_id, **json.loads(stored.data)}
        return Event(
            source=self._source,
            epoch=stored.epoch,
            sequence=stored.sequence,
            kind=stored.kind,
            label=stored.label,
            at=stored.at,
            data=data,
        )

    def _gap(self, journal: Journal, since: int) -> Event:
        return Event(
            source=self._source,
            epoch=journal.epoch,
            sequence=journal.compacted_to,
            kind="journal.compacted",
            label=None,
            at=0.0,
            data={"from": since + 1, "to": journal.compacted_to},
        )


def _matches(tests: list[Callable[[str], bool]], stored: StoredEvent) -> bool:
    return not tests or (stored.label is not None and any(test(stored.label) for test in tests))
