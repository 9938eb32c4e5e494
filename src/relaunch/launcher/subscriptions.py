"""The table of subscriptions: who wants to be told of what, kept in the journal like the jobs, each with its publisher.

A subscription is committed before it is answered, and outlives the launcher; how far its application has come is put
down now and then, as its subscriber says it again anyway. Refuses to know how anything reaches a subscriber.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from relaunch.core.delivery import Cursor
from relaunch.core.delivery_wire import read_cursor, write_cursor
from relaunch.core.varlink import json_text
from relaunch.errors import BadCall, JournalFailed, NoSuchSubscription, Refused, RelaunchError, ShuttingDown
from relaunch.fields import Wire
from relaunch.launcher.dials import Dials
from relaunch.launcher.journal import Journal, NewEvent, StoredEvent, Write
from relaunch.launcher.outgoing import Speaker
from relaunch.launcher.recent import Recent
from relaunch.launcher.snapshot import Snapshots
from relaunch.launcher.turns import Turns
from relaunch.subscription import SubscriptionSpec
from relaunch.transport.address import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.launcher.publisher import Publisher, Supply

SUBSCRIPTIONS_MAX = 1_000
# Sent and not acknowledged: of one subscription, of all of them; each has this much in any case.
UNACKED_BYTES_MAX = 4 * 1024 * 1024
ALL_UNACKED_BYTES_MAX = 64 * 1024 * 1024
UNACKED_BYTES_LEAST = 64 * 1024
# How old what is kept of an application's place may be.
KEEP_S = 5.0
# How long a shutdown waits for the last events to be handled, and then for farewells to leave.
FINISH_S = 5.0
FAREWELL_S = 0.25
_PREFIX_DIGITS_MIN = 4
_PREFIX = "subscription:"
# Imported for the first subscription, in a thread: a launcher that has none starts in less time.
_PUBLISHER = "relaunch.launcher.publisher"
log = logging.getLogger("relaunch")


class Subscriptions:
    """Every subscription of one launcher. Lives on its event loop.

    Args:
        journal: Where they are kept; has those of the launcher before this one.
        speaker: Told to subscribers.
        snapshots: Tell what is.
    """

    def __init__(self, journal: Journal, speaker: Speaker, snapshots: Snapshots) -> None:
        self.speaker = speaker
        self._journal = journal
        self._recent = Recent(speaker.source, Cursor(journal.epoch, journal.last_sequence))
        self._turns = Turns()
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._snapshots = snapshots
        self._coming: set[str] = set()
        self._unkept: set[Publisher] = set()
        self._keeping: asyncio.TimerHandle | None = None
        self._closing = False
        self._publishers = dict(self._restored())

    @cached_property
    def _supply(self) -> Supply:
        from relaunch.launcher.publisher import Supply

        return Supply(
            speaker=self.speaker,
            recent=self._recent,
            journal=self._journal,
            snapshots=self._snapshots,
            turns=self._turns,
            dials=Dials(),
            kept=self._kept,
            expired=self._expired,
            bytes_max=self._bytes_max,
            moved=self._moved.set,
        )

    def _publisher(self, spec: SubscriptionSpec, since: float, cursor: Cursor | None) -> Publisher:
        from relaunch.launcher.publisher import Publisher

        return Publisher(spec, since, cursor, self._supply)

    def _restored(self) -> Iterable[tuple[str, Publisher]]:
        for name, text in self._journal.documents.items():
            if name.startswith(_PREFIX):
                try:
                    spec, since, cursor = _read(json.loads(text))
                except (AttributeError, KeyError, TypeError, ValueError, RelaunchError) as error:
                    log.error("%s cannot be read from the journal and is passed over: %s", name, type(error).__name__)
                    continue
                yield spec.id, self._publisher(spec, since, cursor)

    def begin(self) -> None:
        """Connect to all who were subscribed before: now that what this launcher says of itself is in the journal."""
        for publisher in self._publishers.values():
            publisher.begin()

    def committed(self, events: list[StoredEvent]) -> None:
        """Told of each commit."""
        self._recent.add(events)
        if self._publishers:
            self._turns.add(self._publishers.values())
        else:
            self._recent.forget()

    def to_wire(self) -> list[Wire]:
        """All of them, as ``Subscription`` of the interface has them."""
        return [publisher.to_wire() for publisher in self._publishers.values()]

    async def subscribe(self, spec: SubscriptionSpec, since: int | None, since_at: float | None) -> Cursor | None:
        """Take in a subscription, or one that is known under other terms.

        Returns:
            After what it begins, None where with what is.

        Raises:
            BadCall, Refused, JournalFailed, ShuttingDown: As their names say.
        """
        if _PUBLISHER not in sys.modules:
            await self._loop.run_in_executor(None, importlib.import_module, _PUBLISHER)
        if self._closing:
            raise ShuttingDown("the launcher is ending and takes no subscription")
        if not parse_address(spec.address).host:
            raise BadCall(f"subscription: address: {spec.address!r} names no host to connect to")
        known = len(self._publishers.keys() | self._coming)
        if spec.id not in self._publishers and spec.id not in self._coming and known >= SUBSCRIPTIONS_MAX:
            raise Refused(f"there are {known} subscriptions already; end some that are not needed")
        self._coming.add(spec.id)
        try:
            cursor = await self._cursor(since, since_at)
            before = self._publishers.get(spec.id)
            begun = time.time() if before is None else before.since
            kept = cursor or (before.acked if before else None)
            events = [] if before else [_event("begun", spec)]
            document = _write(spec, begun, kept)
            await self._commit(events, {_PREFIX + spec.id: document}, lambda: self._begin(spec, begun, cursor))
        finally:
            self._coming.discard(spec.id)
        return cursor

    def _begin(self, spec: SubscriptionSpec, since: float, cursor: Cursor | None) -> None:
        publisher = self._publishers.get(spec.id)
        if publisher is not None:
            publisher.renew(spec, cursor)
        else:
            publisher = self._publishers[spec.id] = self._publisher(spec, since, cursor)
            publisher.begin()

    async def _cursor(self, since: int | None, since_at: float | None) -> Cursor | None:
        if since is None and since_at is None:
            return None
        sequence = since or 0
        if since_at is not None:
            sequence = max(sequence, await self._journal.sequence_at(since_at))
        at = self._recent.at
        return Cursor(at.epoch, min(sequence, at.sequence))

    async def unsubscribe(self, names: Iterable[str]) -> list[str]:
        """End subscriptions, by id, name, or an id's first digits where no other id begins so.

        Returns:
            The ids of those that were ended.

        Raises:
            NoSuchSubscription: There is none under one of these names; the others have been ended.
            JournalFailed: Nothing was ended.
        """
        chosen: dict[str, Publisher] = {}
        unknown = []
        for name in names:
            found = {key: one for key, one in self._publishers.items() if name in (key, one.spec.name)}
            if not found and len(name) >= _PREFIX_DIGITS_MIN:
                found = {key: one for key, one in self._publishers.items() if key.startswith(name)}
                found = found if len(found) == 1 else {}
            chosen |= found
            if not found:
                unknown.append(name)
        if chosen:
            events = [_event("ended", publisher.spec) for publisher in chosen.values()]
            gone: dict[str, str | None] = {_PREFIX + key: None for key in chosen}
            await self._commit(events, gone, lambda: self._forget(chosen.values()))
        if unknown:
            raise NoSuchSubscription(f"there is no subscription {', '.join(map(repr, unknown))}"[:1000])
        return list(chosen)

    def _forget(self, publishers: Iterable[Publisher]) -> None:
        for publisher in publishers:
            if self._publishers.get(publisher.spec.id) is publisher:
                del self._publishers[publisher.spec.id]
            self._unkept.discard(publisher)
            publisher.end()

    def _expired(self, publisher: Publisher) -> None:
        """The lease is over. This has happened, so it is not for the disk to refuse."""
        log.warning("%r has ended: nobody was reached for %g s", publisher.spec, publisher.spec.lease_s)
        self._forget([publisher])
        gone = {_PREFIX + publisher.spec.id: None}
        self._journal.write(Write([_event("expired", publisher.spec)], gone, lambda _: None))

    async def _commit(self, events: list[NewEvent], documents: dict[str, str | None], act: Callable[[], None]) -> None:
        """Have it in the journal, then act at once, in the order of commits."""
        committed: asyncio.Future[None] = self._loop.create_future()

        def done(error: JournalFailed | None) -> None:
            if error is None:
                act()
            if committed.done():
                return
            if error is None:
                committed.set_result(None)
            else:
                committed.set_exception(error)

        self._journal.write(Write(events, documents, done, refusable=True))
        await committed

    def _bytes_max(self) -> int:
        share = ALL_UNACKED_BYTES_MAX // max(1, len(self._publishers))
        return max(UNACKED_BYTES_LEAST, min(UNACKED_BYTES_MAX, share))

    # How far each has come

    def _kept(self, publisher: Publisher) -> None:
        self._unkept.add(publisher)
        if self._keeping is None and not self._closing:
            self._keeping = self._loop.call_later(KEEP_S, self._keep)

    def _keep(self) -> None:
        self._keeping = None
        for publisher in self._unkept:
            document = _write(publisher.spec, publisher.since, publisher.acked)
            self._journal.write(Write([], {_PREFIX + publisher.spec.id: document}, lambda _: None, refusable=True))
        self._unkept.clear()

    # The end

    async def finish(self) -> None:
        """Wait, for a while, until those who are there have handled everything; then say farewell, and hang up."""
        self._closing = True
        try:
            async with asyncio.timeout(FINISH_S):
                while any(publisher.is_behind for publisher in self._publishers.values()):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            behind = sum(publisher.is_behind for publisher in self._publishers.values())
            log.warning("%d subscriptions had not been told everything when the launcher ended", behind)
        for publisher in self._publishers.values():
            publisher.farewell()
        try:
            async with asyncio.timeout(FAREWELL_S):
                while any(publisher.is_connected for publisher in self._publishers.values()):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pass  # some subscriber does not hang up by itself
        self.close()

    def close(self) -> None:
        """Hang up on all without a word: the next launcher goes on where this one stops."""
        self._closing = True
        if self._keeping is not None:
            self._keeping.cancel()
        self._keep()
        for publisher in self._publishers.values():
            publisher.close()


def _event(what: str, spec: SubscriptionSpec) -> NewEvent:
    data = {"id": spec.id, "name": spec.name, "address": spec.address}
    return NewEvent(f"subscription.{what}", None, data, time.time())


def _write(spec: SubscriptionSpec, since: float, cursor: Cursor | None) -> str:
    return json_text({"spec": spec.to_wire(), "since": since, "cursor": write_cursor(cursor)})


def _read(document: dict[str, Any]) -> tuple[SubscriptionSpec, float, Cursor | None]:
    cursor = document["cursor"]
    spec = SubscriptionSpec.from_wire(document["spec"])
    return spec, float(document["since"]), None if cursor is None else read_cursor(cursor)
