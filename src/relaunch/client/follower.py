"""Follows this host's journal over the launcher's socket, for a subscriber, whatever becomes of the launcher.

Knows how a subscriber's events come out of the journal's, and when to say that the launcher is lost: when nobody
listens on its socket any more. Refuses to know what is done with an event.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from relaunch.client.calls import get_status
from relaunch.client.channel import Channel
from relaunch.client.cursor_file import CursorFile
from relaunch.client.follow import AGAIN_S, Place
from relaunch.core.delivery import Cursor
from relaunch.errors import NoLauncher, NotPermitted, Refused, RelaunchError, Unreachable
from relaunch.event import Event
from relaunch.model import Wire
from relaunch.subscription import DEFAULT_KINDS, Filter

# What waits for a slow application; then the launcher is made to wait, which reads from its disk and loses nothing.
WAITING_MAX = 512
LOOK_AGAIN_S = 0.25


class Where(TypedDict, total=False):
    """Where to begin, see ``Place``."""

    epoch: str
    since: int | None
    since_at: float | None


class Follower:
    """The events of this host's launcher that a filter chooses. Made by ``Follower.open``.

    Attributes:
        source: The launcher's.
        host: Its host's name.
    """

    def __init__(
        self, path: str | None, patterns: Sequence[str], kinds: Sequence[str], book: CursorFile | None
    ) -> None:
        self._path = path
        self._wanted = Filter(patterns, kinds)
        self._patterns = patterns
        # That a journal is another one is to be noticed, whatever was asked for.
        self._kinds = (*(kinds or DEFAULT_KINDS), "journal.reset")
        self._book = book
        self._place = self._place_at()
        self._known: Cursor | None = None
        self._arrived: asyncio.Queue[tuple[Event, Cursor | None] | RelaunchError] = asyncio.Queue(WAITING_MAX)
        self._in_hand: Cursor | None = None
        self._acked = book.acked if book else None
        self._redelivered_to = book.handed if book else None
        self._reading: asyncio.Task[None] | None = None
        self._life, self._told = secrets.token_hex(8), 0
        self._boot_id = ""
        self.source = ""
        self.host = ""

    @classmethod
    async def open(
        cls,
        *,
        path: str | None = None,
        patterns: Sequence[str] = (),
        kinds: Sequence[str] = (),
        name: str | None = None,
        since: int | None = None,
        since_at: float | None = None,
    ) -> "Follower":
        """Begin to follow; returns when the launcher has said where its journal stands.

        Args:
            path: The launcher's socket; None means this user's own.
            patterns: See ``Filter``.
            kinds: See ``Filter``.
            name: Under which it is kept how far the application has come; None where it is not.
            since: Begin after this sequence, unless the name is known already; with no beginning given, now.
            since_at: Begin at this wall time, likewise.

        Raises:
            NoLauncher: Nobody listens there now.
            Refused: The name is in use, or its file cannot be used.
        """
        book = CursorFile(name) if name is not None else None
        try:
            follower = cls(path, patterns, kinds, book)
            channel = await Channel.open(path)
            await follower._begin(channel, since, since_at)
        except BaseException:
            if book:
                book.close()
            raise
        follower._reading = asyncio.create_task(follower._read(channel))
        return follower

    @property
    def described(self) -> str:
        """What it follows."""
        return f"following the launcher of {self.host}"

    async def next(self) -> Event:
        """The next event. Given up while it waits, nothing is lost.

        Raises:
            RelaunchError: There can be no next one.
        """
        arrived = await self._arrived.get()
        if isinstance(arrived, RelaunchError):
            raise arrived
        event, self._in_hand = arrived
        if self._book and self._in_hand:
            self._book.write(self._acked, self._in_hand)
        return event

    async def ack(self) -> None:
        """All that was handed out has been handled."""
        if self._in_hand is not None:
            self._acked, self._in_hand = self._in_hand, None
            if self._book:
                self._book.write(self._acked, self._acked)

    async def close(self) -> None:
        """End it."""
        if self._reading:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._book:
            self._book.close()

    async def _begin(self, channel: Channel, since: int | None, since_at: float | None) -> None:
        status = await channel.ask(get_status())
        journal = status["journal"]
        self.host = str(status["host"])
        self._boot_id = status["boot_id"]
        self.source = f"//{self.host}/relaunch/{status['uid']}"
        now = Cursor(journal["epoch"], journal["last_sequence"])
        self._known = Cursor(now.epoch, 0)
        if self._acked is not None:
            self._known = self._acked
            self._place = self._place_at(epoch=self._acked.epoch, since=self._acked.sequence)
        elif since is not None or since_at is not None:
            self._place = self._place_at(epoch=now.epoch, since=since, since_at=since_at)
        else:
            self._place = self._place_at(epoch=now.epoch, since=now.sequence)
            if self._book:
                self._acked = now
                self._book.write(now, None)
        await self._notice_reset(journal)

    def _place_at(self, **where: Unpack[Where]) -> Place:
        return Place(self._patterns, kinds=self._kinds, **where)

    async def _read(self, channel: Channel) -> None:
        try:
            while True:
                await self._read_from(channel)
                await asyncio.sleep(AGAIN_S)
                channel = await self._again()
        except RelaunchError as error:
            await self._arrived.put(error)

    async def _read_from(self, channel: Channel) -> None:
        """All that one launcher has to say."""
        try:
            async for batch in channel.stream(self._place.call(follow=True)):
                for wire in batch:
                    await self._take(wire)
                    self._place.came(wire)
        except (Unreachable, Refused) as error:
            if isinstance(error, NotPermitted):
                raise
        finally:
            channel.close()

    async def _again(self) -> Channel:
        """The next launcher, which may take any time to come."""
        told = False
        while True:
            try:
                channel = await Channel.open(self._path)
                try:
                    await self._notice_reset((await channel.ask(get_status()))["journal"])
                    return channel
                except BaseException:
                    channel.close()
                    raise
            except NotPermitted:
                raise
            except NoLauncher:
                if not told:
                    await self._lost()
                    told = True
            except (Unreachable, Refused):
                pass  # it went away at once, or is not ready yet
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _notice_reset(self, journal: Mapping[str, Any]) -> None:
        if self._place.epoch != journal["epoch"]:
            await self._reset(journal["epoch"])
            self._place.begin(journal["epoch"])

    async def _reset(self, epoch: str) -> None:
        at = self._known = Cursor(epoch, 0)
        await self._arrived.put((self._event("stream.reset", at, "reset", {}), at))

    async def _take(self, wire: Wire) -> None:
        """Pass on what the journal says, as a subscriber is told of it."""
        event = Event.from_wire(wire)
        at = Cursor(event.epoch, event.sequence)
        if self._known is None or at.epoch != self._known.epoch:
            await self._reset(at.epoch)
        self._known = at
        if event.kind == "journal.compacted":
            event = self._event("stream.gap", at, "gap", {"first": event.data["from"], "last": at.sequence})
        elif not self._wanted(event.kind, event.label):
            return
        again = self._redelivered_to
        if again is not None and again.epoch == at.epoch and at.sequence <= again.sequence:
            event = Event.from_wire(event.to_wire() | {"redelivered": True})
        await self._arrived.put((event, at))

    async def _lost(self) -> None:
        """Say what no journal says."""
        if self._wanted("launcher.lost", None):
            self._told += 1
            at = Cursor(self._life, self._told)
            data = {"certain": True, "silent_s": 0.0, "boot_id": self._boot_id}
            alone = {"together": 1, "number": 1, "group": f"{at.epoch}/{at.sequence}"}
            await self._arrived.put((self._event("launcher.lost", at, "watch", data | alone), None))

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
