"""Follows one launcher's journal for a subscriber, whatever becomes of the launcher and of the way to it.

Knows how a subscriber's events come out of the journal's, and where to go on after each outage. Refuses to know what is
done with an event, and what is believed of a launcher that does not answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol, TypedDict, Unpack

from relaunch.client import answers
from relaunch.client.calls import get_status
from relaunch.client.channel import Channel
from relaunch.client.cursor_file import KeptPlace
from relaunch.client.follow import AGAIN_S, Place
from relaunch.core.delivery import Cursor
from relaunch.errors import NotPermitted, Refused, RelaunchError, TimedOut, Unreachable
from relaunch.event import Event
from relaunch.fields import Wire
from relaunch.subscription import DEFAULT_KINDS, Filter


class Where(TypedDict, total=False):
    """Where to begin, see ``Place``."""

    epoch: str
    since: int | None
    since_at: float | None


class Reader(Protocol):
    """Whoever wants to be told."""

    async def take(self, follower: "Follower", event: Event, at: Cursor) -> None:
        """The next event, and where the journal stands after it. Returns when there is room for another."""

    def met(self, follower: "Follower", status: Mapping[str, Any]) -> None:
        """The launcher has said what it is; what it tells comes next.

        Raises:
            RelaunchError: It is not to be followed.
        """

    def broken(self, follower: "Follower") -> None:
        """What it tells comes no more, until ``met``."""

    async def failed(self, follower: "Follower", error: RelaunchError) -> None:
        """It cannot be reached; when this returns, it is tried again."""


class Follower:
    """One launcher's events that a filter chooses.

    Args:
        host: As the user calls it; empty for this host.
        connect: Opens a connection to the launcher.
        reader: Gets the events.
        patterns: See ``Filter``.
        kinds: See ``Filter``.
        kept: Where it is kept how far the application has come; None where it is not.
        answers_within_s: How long the launcher may take to say what it is; None is for ever.

    Attributes:
        host: As it was given.
        source: The launcher's, once it has been met.
        acked: How far the application has come.
    """

    def __init__(
        self,
        host: str,
        connect: Callable[[], Awaitable[Channel]],
        reader: Reader,
        patterns: Sequence[str],
        kinds: Sequence[str],
        kept: KeptPlace | None,
        answers_within_s: float | None = None,
    ) -> None:
        self.host = host
        self.source = ""
        self._connect = connect
        self._reader = reader
        self._wanted = Filter(patterns, kinds)
        self._patterns = patterns
        # That a journal is another one is to be noticed, whatever was asked for.
        self._kinds = (*(kinds or DEFAULT_KINDS), "journal.reset")
        self._kept = kept
        self._answers_within_s = answers_within_s
        self._place = self._place_at()
        self._begun = False
        self._known: Cursor | None = None
        self.acked = kept.acked if kept else None
        self._redelivered_to = kept.handed if kept else None

    def given(self, at: Cursor) -> None:
        """The application is about to have the event that stands there.

        Raises:
            Refused: That cannot be put down.
        """
        if self._kept:
            self._kept.write(self.acked, at)

    def done(self, at: Cursor) -> None:
        """The application has handled all up to there.

        Raises:
            Refused: That cannot be put down.
        """
        self.acked = at
        if self._kept:
            self._kept.write(at, at)

    async def begin(self, since: int | None, since_at: Callable[[], float | None]) -> Channel:
        """Connect for the first time, and find out where to begin.

        Args:
            since: After this sequence, where it is not kept how far the application has come; by default, now.
            since_at: Gives at which wall time, likewise; asked once the launcher answers.

        Raises:
            RelaunchError: The launcher cannot be reached, or the connection breaks.
        """
        channel = await self._connect()
        try:
            status = await self._status(channel)
            self._begin(status, since, since_at())
            await self._go_on(status)
        except BaseException:
            channel.close()
            raise
        return channel

    def _begin(self, status: Wire, since: int | None, since_at: float | None) -> None:
        journal = status["journal"]
        now = Cursor(journal["epoch"], journal["last_sequence"])
        self._known = Cursor(now.epoch, 0)
        if self.acked is not None:
            self._known = self.acked
            self._place = self._place_at(epoch=self.acked.epoch, since=self.acked.sequence)
        elif since is not None or since_at is not None:
            self._place = self._place_at(epoch=now.epoch, since=since, since_at=since_at)
        else:
            self._place = self._place_at(epoch=now.epoch, since=now.sequence)
            self.acked = now
            if self._kept:
                self._kept.write(now, None)
        self._begun = True

    def _place_at(self, **where: Unpack[Where]) -> Place:
        return Place(self._patterns, kinds=self._kinds, **where)

    async def _go_on(self, status: Wire) -> None:
        self.source = f"//{status['host']}/relaunch/{status['uid']}"
        self._reader.met(self, status)
        if self._place.epoch != status["journal"]["epoch"]:
            await self._reset(status["journal"]["epoch"])
            self._place.begin(status["journal"]["epoch"])

    async def follow(self, channel: Channel | None, since: int | None, since_at: Callable[[], float | None]) -> None:
        """Follow for ever, or until the reader wants no more.

        Args:
            channel: From ``begin``, where that went well.
            since: See ``begin``, for where it did not.
            since_at: Likewise.

        Raises:
            RelaunchError: What the reader raised.
        """
        while True:
            try:
                if channel is None:
                    channel = await (self._again() if self._begun else self.begin(since, since_at))
                await self._read_from(channel)
                await asyncio.sleep(AGAIN_S)
            except NotPermitted:
                raise
            except (Unreachable, Refused) as error:
                await self._reader.failed(self, error)
            channel = None

    async def _again(self) -> Channel:
        channel = await self._connect()
        try:
            await self._go_on(await self._status(channel))
        except BaseException:
            channel.close()
            raise
        return channel

    async def _status(self, channel: Channel) -> Wire:
        try:
            async with asyncio.timeout(self._answers_within_s):
                status: Wire = await channel.ask(get_status())
        except TimeoutError:
            within = f"within {self._answers_within_s:g} seconds"
            raise TimedOut(f"{self.host}: its launcher has not answered {within}") from None
        answers.read(_check, status)
        return status

    async def _read_from(self, channel: Channel) -> None:
        """All that one launcher has to say."""
        try:
            async for batch in channel.stream(self._place.call(follow=True)):
                for wire in batch:
                    await self._take(wire)
                    self._place.came(wire)
        finally:
            channel.close()
            self._reader.broken(self)

    async def _reset(self, epoch: str) -> None:
        at = self._known = Cursor(epoch, 0)
        await self._reader.take(self, self._event("stream.reset", at, "reset", {}), at)

    async def _take(self, wire: Wire) -> None:
        """Pass on what the journal says, as a subscriber is told of it."""
        (event,) = answers.read(answers.events, [wire])
        at = Cursor(event.epoch, event.sequence)
        if self._known is None or at.epoch != self._known.epoch:
            await self._reset(at.epoch)
        self._known = at
        if event.kind == "journal.compacted":
            first = answers.read(itemgetter("from"), event.data)
            event = self._event("stream.gap", at, "gap", {"first": first, "last": at.sequence})
        elif not self._wanted(event.kind, event.label):
            return
        again = self._redelivered_to
        if again is not None and again.epoch == at.epoch and at.sequence <= again.sequence:
            event = Event.from_wire(event.to_wire() | {"redelivered": True})
        await self._reader.take(self, event, at)

    def _event(self, kind: str, at: Cursor, mark: str, data: Wire) -> Event:
        return Event(
            source=self.source,
            epoch=at.epoch,
            sequence=at.sequence,
            kind=kind,
            label=None,
            at=time.time(),
            data={"label": None, **data},
            mark=mark,
        )


def _check(status: Wire) -> None:
    """See that a launcher has said what is asked for here."""
    journal = answers.status(status).journal
    Cursor(str(journal["epoch"]), int(journal["last_sequence"]))
