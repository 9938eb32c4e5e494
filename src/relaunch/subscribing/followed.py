"""Launchers followed over their sockets, of this host or over ssh of many, as one stream.

Knows how long to wait before a launcher is tried again, what is believed of one that does not answer, and that each
host's events come in order, with a turn for every host. Refuses to know how a journal is read (``client.follower``).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from relaunch.client.channel import Channel
from relaunch.client.cursor_file import CursorFile, KeptPlace
from relaunch.client.follower import Follower
from relaunch.core.delivery import Cursor
from relaunch.core.liveness import Run, Terms
from relaunch.errors import NoLauncher, OutcomeUnknown, ProtocolBroken, RelaunchError
from relaunch.event import Event
from relaunch.subscriber.beliefs import Beliefs
from relaunch.subscriber.watch import Belief, Watch
from relaunch.subscribing.hosts import Notices, Pace, Twins
from relaunch.subscribing.wanted import Wanted
from relaunch.subscription import Filter

# What waits for a slow application; then launchers are made to wait, which read from their disks and lose nothing.
WAITING_MAX = 512
LOOK_AGAIN_S = 0.25
AGAIN_S_MIN, AGAIN_S_MAX = 0.5, 15.0
ANSWERS_WITHIN_S = 15.0
_BEGINS_WITHIN_S = 5.0
log = logging.getLogger(__name__)


class _Known(RelaunchError):
    """It is a launcher that is followed already."""


class _Launcher:
    """What is known of one."""

    def __init__(self, follower: Follower, pace: Pace, kept: KeptPlace | None, since_at: float | None) -> None:
        self.follower = follower
        self.kept = kept
        self.pace = pace
        self.since_at = since_at
        self.begun = False
        self.run: Run | None = None
        self.pid = 0
        self.said: type[RelaunchError] | None = None
        self.settled = asyncio.Event()


class Followed:
    """See ``Subscriber``. Made by ``of_this_host`` and ``of_hosts``.

    Attributes:
        described: What it does, for a person.
    """

    def __init__(self, wanted: Wanted, fanout: int) -> None:
        self.described = ""
        self._wanted = wanted
        self._filter = Filter(wanted.patterns, wanted.kinds)
        self._book = CursorFile(wanted.name) if wanted.name is not None else None
        self._limit = asyncio.Semaphore(max(1, fanout))
        self._room = asyncio.Semaphore(WAITING_MAX)
        self._arrived: asyncio.Queue[tuple[Follower | None, Event, Cursor] | RelaunchError] = asyncio.Queue()
        self._taken: tuple[Follower | None, Event, Cursor] | None = None
        self._in_hand: tuple[Follower, Cursor] | None = None
        self._launchers: dict[str, _Launcher] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._watch = Watch(Terms(), self._believe, lambda: None)
        self._beliefs = Beliefs()
        self._notices = Notices()
        self._twins = Twins()
        self._begun_at = time.time()
        self._has_begun = False
        self._closing: list[Callable[[], Awaitable[None]]] = []

    @classmethod
    async def of_this_host(cls, wanted: Wanted, path: str | None) -> Self:
        """Follow this host's launcher; returns when that has said where its journal stands.

        Raises:
            NoLauncher: Nobody listens on its socket.
            Refused: The name is in use, or its file cannot be used.
        """
        followed = cls(wanted, 1)
        try:
            one = followed._add("", lambda: Channel.open(path), Pace(LOOK_AGAIN_S, LOOK_AGAIN_S))
            channel = await one.follower.begin(wanted.since, lambda: wanted.since_at)
        except BaseException:
            await followed.close()
            raise
        followed.described = f"following the launcher of {one.follower.source[2:].partition('/')[0]}"
        followed._follow(one, channel)
        return followed

    @classmethod
    async def of_hosts(cls, wanted: Wanted, hosts: Sequence[str], fanout: int) -> Self:
        """Follow these hosts' launchers; returns when each has said where its journal stands, or cannot be reached.

        Raises:
            Refused: The name is in use, or its file cannot be used.
        """
        from relaunch.client.ssh import connect_host  # who follows this host needs no ssh

        followed = cls(wanted, fanout)
        try:
            for host in hosts:
                connection = connect_host(host)
                followed._closing.append(connection.aclose)
                one = followed._add(host, connection.open_channel, Pace(AGAIN_S_MIN, AGAIN_S_MAX), ANSWERS_WITHIN_S)
                followed._follow(one, None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEGINS_WITHIN_S):
                    for one in followed._launchers.values():
                        await one.settled.wait()
        except BaseException:
            await followed.close()
            raise
        followed._has_begun = True
        count = sum(one.run is not None for one in followed._launchers.values())
        many = f"{count} hosts" if count == len(hosts) else f"{count} of {len(hosts)} hosts"
        followed.described = f"following the launcher{'s' * (count != 1)} of {many if len(hosts) > 1 else hosts[0]}"
        return followed

    def _add(
        self, host: str, connect: Callable[[], Awaitable[Channel]], pace: Pace, answers_within_s: float | None = None
    ) -> _Launcher:
        async def limited() -> Channel:
            async with self._limit:
                return await connect()

        wanted, kept = self._wanted, self._book.place(host) if self._book else None
        follower = Follower(host, limited, self, wanted.patterns, wanted.kinds, kept, answers_within_s)
        self._launchers[host] = _Launcher(follower, pace, kept, wanted.since_at)
        return self._launchers[host]

    def _follow(self, one: _Launcher, channel: Channel | None) -> None:
        self._tasks.append(asyncio.create_task(self._guarded(one, channel)))

    async def _guarded(self, one: _Launcher, channel: Channel | None) -> None:
        host = one.follower.host
        try:
            while (problem := await self._followed(one, channel)) is not None:
                if not host:
                    self._arrived.put_nowait(problem)
                    return
                # One host is not to end the others.
                await self.failed(one.follower, problem)
                channel = None
        finally:
            one.settled.set()

    async def _followed(self, one: _Launcher, channel: Channel | None) -> RelaunchError | None:
        """Follow until that cannot go on; gives why, None where it need not."""
        try:
            if one.follower.host and not one.begun:
                # Whoever is reached late is asked for what has happened since this began, or the name did.
                before = one.kept.begun_at if one.kept else None
                began_at = one.kept.begin(self._begun_at) if one.kept else self._begun_at
                one.since_at = self._wanted.since_at or (began_at if self._wanted.from_now else None)
                one.begun = True
                channel = await self._first(one, before)
            await one.follower.follow(channel, self._wanted.since, lambda: one.since_at)
        except _Known as known:
            self._notices.well(one.follower.host, str(known))
            self._watch.forget(one.follower.host)
        except RelaunchError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return RelaunchError(f"{one.follower.host}: following it failed inside: {error!r}")
        return None

    async def _first(self, one: _Launcher, before: float | None) -> Channel | None:
        try:
            return await one.follower.begin(self._wanted.since, lambda: self._since_at(before))
        except _Known:
            raise
        except RelaunchError as error:
            await self.failed(one.follower, error)
            return None

    def _since_at(self, before: float | None) -> float | None:
        """Where to begin at a host that answers now; None is now, as long as nobody has been told that this began."""
        if not self._wanted.from_now:
            return self._wanted.since_at
        return before if before is not None or not self._has_begun else self._begun_at

    # What a follower tells it

    async def take(self, follower: Follower, event: Event, at: Cursor) -> None:
        """See ``Reader``."""
        if not event.mark:  # else the follower itself has made it up
            self._makes_sense(self._launchers[follower.host])
        await self._room.acquire()
        self._arrived.put_nowait((follower, event, at))

    def met(self, follower: Follower, status: Mapping[str, Any]) -> None:
        """See ``Reader``."""
        one, host = self._launchers[follower.host], follower.host
        first = self._twins.first(host, follower.source, status["journal"]["epoch"])
        if first != host:
            raise _Known(f"is the same launcher as {first}, and counts once")
        boot_id, pid = str(status["boot_id"]), int(status["launcher_pid"])
        if one.run is None or (one.run.boot_id, one.pid) != (boot_id, pid):
            one.run, one.pid = Run(boot_id, one.run.number + 1 if one.run else 1), pid
        self._watch.met(host, one.run)
        # As long as the connection is there, somebody else has its eyes on the host.
        self._watch.unread(host, lambda: None)
        # One that talked nonsense may have said as well what it is: it is to say something else, too.
        if one.said is not ProtocolBroken:
            self._makes_sense(one)
        one.settled.set()

    def _makes_sense(self, one: _Launcher) -> None:
        if one.said is not None:
            self._notices.well(one.follower.host, "followed")
        one.said = None
        one.pace.reset()

    def broken(self, follower: Follower) -> None:
        """See ``Reader``."""
        self._watch.unread(follower.host, None)

    async def failed(self, follower: Follower, error: RelaunchError) -> None:
        """See ``Reader``."""
        one, host = self._launchers[follower.host], follower.host
        if host and isinstance(error, ProtocolBroken):
            error = ProtocolBroken(f"{host}: {error.message}")
        if isinstance(error, NoLauncher) and one.run is not None:
            self._watch.gone(host, one.run)
        # That it broke is no news by itself; why it cannot be mended, is.
        if host and not isinstance(error, OutcomeUnknown) and type(error) is not one.said:
            one.said = type(error)
            self._notices.failed(host, error)
        one.settled.set()
        await asyncio.sleep(one.pace.next_s(type(error) if host else None))

    def _believe(self, host: str, belief: Belief) -> None:
        event = self._beliefs.event(self._launchers[host].follower.source, belief)
        if self._filter(belief.kind, None):
            self._arrived.put_nowait((None, event, Cursor("", 0)))

    # The application

    async def next(self) -> Event:
        """The next event. Given up while it waits, nothing is lost.

        Raises:
            RelaunchError: There can be no next one.
        """
        if self._in_hand is not None:
            raise RuntimeError("the event before has not been acknowledged")
        if self._taken is None:
            arrived = await self._arrived.get()
            if isinstance(arrived, RelaunchError):
                raise arrived
            self._taken = arrived
        follower, event, at = self._taken
        if follower is not None:
            follower.given(at)  # where it cannot be put down, the event is there for the next try
            self._room.release()
            self._in_hand = follower, at
        self._taken = None
        return event

    async def ack(self) -> None:
        """All that was handed out has been handled."""
        if self._in_hand is not None:
            follower, at = self._in_hand
            follower.done(at)
            self._in_hand = None

    async def close(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._watch.close()
        await asyncio.gather(*(close() for close in self._closing))
        self._notices.close()
        if self._book:
            self._book.close()
