"""Launchers on many hosts, asked at once.

Knows how many hosts are dealt with at a time, that each answers for itself, and how their events are followed through
every outage. Refuses to know how a host is reached (``ssh``), and which hosts a pattern stands for.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from relaunch.client.calls import ANSWER_S, FANOUT
from relaunch.client.nodesets import hosts_of
from relaunch.client.ssh import HostConnection, connect_host
from relaunch.client.ssh_command import TIMEOUT_S
from relaunch.errors import OutcomeUnknown, RelaunchError, TimedOut, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    from relaunch.client.head_start import Begun
    from relaunch.event import Event

# What waits for a slow reader of events; then the launchers are made to wait, and lose nothing.
_WAITING_MAX = 1024
_AGAIN_S, _AGAIN_MAX_S = 0.1, 10.0

# Whoever was connected for so long was not so by accident.
_WELL_S = 5.0

T = TypeVar("T")


class Cluster:
    """Launchers on many hosts, to be entered: ``async with Cluster("node[1-5]") as cluster:``.

    Nothing is connected before it is needed. What was connected stays so for a while after this is left.

    Args:
        hosts: Names as ssh takes them, of the same name twice one; or in one text what ``-H`` takes, node sets and
            groups among it.
        fanout: How many are asked at a time.
        timeout_s: How long a host may take for an answer, connecting included.
        connect_timeout_s: How long connecting alone may take.
        prompts: Whether ssh may ask for a passphrase or password on the terminal; only where there is one host.

    Raises:
        BadHost: One of them is no host's name.
        Usage: The text is malformed.
    """

    def __init__(
        self,
        hosts: str | Iterable[str],
        *,
        fanout: int = FANOUT,
        timeout_s: float = ANSWER_S,
        connect_timeout_s: float | None = None,
        prompts: bool = False,
    ) -> None:
        names = hosts_of(hosts)
        prompts = prompts and len(names) == 1
        if connect_timeout_s is None and not prompts:
            connect_timeout_s = min(timeout_s, TIMEOUT_S)
        self._timeout_s = timeout_s
        self._limit = asyncio.Semaphore(max(1, fanout))
        self._connect = partial(connect_host, timeout_s=connect_timeout_s, prompts=prompts)
        self._hosts = {name: self._connect(name) for name in names}

    @property
    def hosts(self) -> Sequence[str]:
        """The hosts, in the order in which they were given."""
        return tuple(self._hosts)

    def take_over(self, begun: Mapping[str, Begun]) -> None:
        """Connect to these hosts by what has been begun already; all of it is this one's from now on."""
        for name, one in begun.items():
            self._hosts[name].take_over(one)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(host.aclose() for host in self._hosts.values()))

    async def each(
        self, ask: Callable[[HostConnection], Awaitable[T]], *, timeout_s: float | None = None, waits: bool = False
    ) -> AsyncGenerator[tuple[str, T | RelaunchError], None]:
        """Ask every host the same, and yield each one's answer as it comes: ``cluster.each(lambda host: host.list())``.

        A host that fails answers with its error, as a value. ``TimedOut`` and what else is raised before it was asked
        mean that nothing was done there; after ``OutcomeUnknown``, nobody knows.

        Args:
            ask: What is asked of each connection.
            timeout_s: How long a host may take, if not as long as the cluster's.
            waits: Whether an answer may take long, as where jobs are waited for; then only so many hosts are connected
                to at a time, and any number is waited for.
        """

        async def answered(name: str) -> tuple[str, T | RelaunchError]:
            return name, await self.ask(name, ask, timeout_s=timeout_s, waits=waits)

        tasks = [asyncio.create_task(answered(name)) for name in self._hosts]
        try:
            for task in asyncio.as_completed(tasks):
                yield await task
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(
        self,
        name: str,
        ask: Callable[[HostConnection], Awaitable[T]],
        *,
        timeout_s: float | None = None,
        waits: bool = False,
    ) -> T | RelaunchError:
        """Ask one of the hosts, within the bounds of all of them; see ``each``."""
        host, asked = self._hosts[name], False
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self._limit)
            limit = asyncio.timeout(limit_s)
            try:
                async with limit:
                    await host.reach()
                    asked = True
                    if waits:
                        await turn.aclose()
                    return await ask(host)
            except RelaunchError as error:
                return error
            except TimeoutError:
                if not limit.expired():
                    raise
                # Answers come in order: whatever is asked over the same connection would wait behind this one.
                host.close()
                return _late(name, limit_s, asked=asked)

    async def events(
        self,
        *patterns: str,
        kinds: Iterable[str] | None = None,
        since_at: float | None = None,
        count: int | None = None,
    ) -> AsyncGenerator[tuple[str, Event | RelaunchError], None]:
        """Yield what happens on every host, each host's events in the order of its journal, until the loop is left.

        A host that cannot be reached is told of by its error, once for each kind of it in an outage. It is tried again
        for ever, and what happened there meanwhile, since the stream began, then comes: by the host's own clock, as it
        stands when it is reached, so that a difference of clocks does not matter.

        Args:
            patterns: Only jobs whose label one of these matches.
            kinds: Only these kinds of events.
            since_at: Also what happened at or after this time, seconds since the epoch; else what happens from now on.
            count: Also so many of the last ones of each host; of those since then, where that is said too.
        """
        arrived: asyncio.Queue[tuple[str, Event | RelaunchError]] = asyncio.Queue(_WAITING_MAX)
        wanted = {"kinds": None if kinds is None else list(kinds)}
        followers = [
            asyncio.create_task(
                _Follower(
                    self._connect(name), self._limit, arrived, patterns, wanted, (since_at, count), self._timeout_s
                ).follow()
            )
            for name in self._hosts
        ]
        try:
            while True:
                yield await arrived.get()
        finally:
            for one in followers:
                one.cancel()
            await asyncio.gather(*followers, return_exceptions=True)


class _Follower:
    """Follows one host's journal, whatever becomes of host and launcher."""

    def __init__(
        self,
        host: HostConnection,
        limit: asyncio.Semaphore,
        arrived: asyncio.Queue[tuple[str, Event | RelaunchError]],
        patterns: Sequence[str],
        wanted: dict[str, Any],
        begin: tuple[float | None, int | None],
        answer_s: float,
    ) -> None:
        self._host = host
        self._limit = limit
        self._arrived = arrived
        self._patterns = patterns
        self._wanted = wanted
        self._begin = begin
        self._answer_s = answer_s
        self._place: tuple[str, int] | None = None
        self._begun_at = _uptime_s()
        self._told: type[RelaunchError] | None = None
        self._attempts = 0
        self._well_since: float | None = None

    async def follow(self) -> None:
        """Follow for ever, or until what is asked for turns out to be wrong."""
        try:
            await self._follow_on()
        finally:
            await self._host.aclose()

    async def _follow_on(self) -> None:
        while True:
            try:
                await self._follow_once()
            except Usage as error:
                await self._arrived.put((self._host.host, error))
                return
            except RelaunchError as error:
                self._judge()
                if type(error) is not self._told:
                    self._told = type(error)
                    await self._arrived.put((self._host.host, error))
            limit_s = min(_AGAIN_S * 2.0 ** min(self._attempts, 10), _AGAIN_MAX_S)
            self._attempts += 1
            await asyncio.sleep(random.uniform(limit_s / 2, limit_s))  # noqa: S311 - spreads clients, hides nothing

    async def _follow_once(self) -> None:
        """Follow until the launcher goes away or the connection breaks."""
        since_at: float | None = None
        before: list[Event] = []
        async with self._limit:
            await self._host.reach()
            if self._place is None:
                since_at, before = await self._first()
        for event in before:
            await self._came(event)
        epoch, since = self._place or (None, None)
        # The stream has a connection of its own.
        self._host.close()
        self._well_since = asyncio.get_running_loop().time()
        events = self._host.events(
            *self._patterns, epoch=epoch, since=since, since_at=since_at, follow=True, **self._wanted
        )
        async with aclosing(events):
            async for event in events:
                await self._came(event)

    async def _first(self) -> tuple[float | None, list[Event]]:
        try:
            async with asyncio.timeout(self._answer_s):
                return await self._beginning()
        except TimeoutError:
            self._host.close()
            raise OutcomeUnknown(f"{self._host.host}: no answer within {self._answer_s:g} seconds") from None

    async def _beginning(self) -> tuple[float | None, list[Event]]:
        """How a stream begins of which nothing has come yet.

        Returns:
            Since when all that has happened is to come, by the host's clock; or None, and what comes first: what
            has been asked for of before, where it reaches back beyond the beginning.
        """
        since_at, count = self._begin
        if since_at is not None and count is None:
            return since_at, []
        now = (await self._host.status()).now
        # Nothing that the host has seen since then is left out, even if the answer was long on its way.
        begun_at = now - (_uptime_s() - self._begun_at)
        if not count:
            return begun_at, []
        last = self._host.events(*self._patterns, since_at=since_at, count=count, **self._wanted)
        async with aclosing(last):
            found = [event async for event in last]
        if not found or (len(found) == count and found[0].at >= begun_at):
            # There may be more since the stream began than were asked for of before.
            return begun_at, []
        return None, found

    async def _came(self, event: Event) -> None:
        await self._arrived.put((self._host.host, event))
        self._place = event.epoch, event.sequence
        self._told, self._attempts = None, 0

    def _judge(self) -> None:
        """Take what ended now for a new outage, if it was well for long enough before."""
        if self._well_since is not None and asyncio.get_running_loop().time() - self._well_since > _WELL_S:
            self._told, self._attempts = None, 0
        self._well_since = None


def _uptime_s() -> float:
    """This host's time, which goes on in suspend and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _late(host: str, timeout_s: float, *, asked: bool) -> RelaunchError:
    if asked:
        return OutcomeUnknown(f"{host}: no answer within {timeout_s:g} seconds; whether it was done is unknown")
    return TimedOut(f"{host}: no connection within {timeout_s:g} seconds; nothing was asked of it")
