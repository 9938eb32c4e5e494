"""A subscriber that listens, and is registered with launchers, of this host or of many, for as long as it lasts.

Knows how long a beginning and an end may take. Refuses to know how one launcher is told (``registration``).
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Self

from relaunch.client.connection import Connection
from relaunch.client.ssh import HostConnection, connect_host
from relaunch.errors import NoSuchSubscription, RelaunchError
from relaunch.event import Event
from relaunch.subscriber.subscription import Subscription
from relaunch.subscribing.hosts import Pace, named
from relaunch.subscribing.registration import ENDED, LOCAL, Registration, Shared
from relaunch.subscribing.wanted import ListensAt, Wanted

LOCAL_AGAIN_S_MIN, LOCAL_AGAIN_S_MAX = 0.25, 5.0
AGAIN_S_MIN, AGAIN_S_MAX = 1.0, 15.0
_BEGINS_WITHIN_S = 5.0
_ENDS_WITHIN_S = 3.0
# A host that has to be logged in to anew takes some time of this host's processors, whatever the fan-out.
_ENDS_WITHIN_S_EACH = 0.2
_ENDS_WITHIN_S_MAX = 30.0
log = logging.getLogger(__name__)


class Served:
    """See ``Subscriber``. Made by ``of_this_host`` and ``of_hosts``.

    Attributes:
        described: What it does, for a person.
    """

    def __init__(self, wanted: Wanted, at: ListensAt, subscription: Subscription, fanout: int) -> None:
        self.described = ""
        self._wanted = wanted
        self._subscription = subscription
        self._listening = f"listening at {subscription.address} ({at.transport})"
        self._shared = Shared(
            subscription=subscription, wanted=wanted, advertise=at.advertise, limit=asyncio.Semaphore(max(1, fanout))
        )
        self._registrations: list[Registration] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: RelaunchError | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def of_this_host(cls, wanted: Wanted, at: ListensAt, path: str | None) -> Self:
        """Listen, and have this host's launcher connect.

        Raises:
            NoLauncher: Nobody listens on its socket.
            Refused: It cannot listen there, or the name is in use, or the launcher refuses it.
        """
        async with Connection(path) as launcher:
            host = (await launcher.status()).host
            served = cls(wanted, at, await _listen(wanted, at), 1)
            pace = Pace(LOCAL_AGAIN_S_MIN, LOCAL_AGAIN_S_MAX)
            registration = Registration(LOCAL, Connection(path), served._shared, pace)
            try:
                served._registrations.append(registration)
                served._begin()
                await registration.register()
                connected = await registration.connects(_BEGINS_WITHIN_S)
            except BaseException:
                await served.close()
                raise
        later = "" if connected else ", which has not connected yet"
        served.described = f"{served._listening}, registered with the launcher of {host}{later}"
        served._stay(registration)
        return served

    @classmethod
    async def of_hosts(cls, wanted: Wanted, at: ListensAt, hosts: Sequence[str], fanout: int) -> Self:
        """Listen, and have the launchers of these hosts connect; returns when each has, or is known not to for now.

        Raises:
            Refused: It cannot listen there, or the name is in use.
        """
        served = cls(wanted, at, await _listen(wanted, at), fanout)
        try:
            for host in hosts:
                registration = Registration(host, connect_host(host), served._shared, Pace(AGAIN_S_MIN, AGAIN_S_MAX))
                served._registrations.append(registration)
                # Who has been registered by a subscriber before this one may connect at once.
                served._subscription.request(host)
            served._begin()
            for registration in served._registrations:
                served._stay(registration)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEGINS_WITHIN_S):
                    for registration in served._registrations:
                        await registration.settled.wait()
        except BaseException:
            await served.close()
            raise
        served._shared.has_begun = True
        count = sum(one.is_registered for one in served._registrations)
        many = f"{count} hosts" if count == len(hosts) else f"{count} of {len(hosts)} hosts"
        served.described = f"{served._listening}, registered with {hosts[0] if len(hosts) == count == 1 else many}"
        return served

    def _begin(self) -> None:
        self._tasks.append(asyncio.create_task(self._look()))

    def _stay(self, registration: Registration) -> None:
        self._tasks.append(asyncio.create_task(registration.stay()))
        self._tasks[-1].add_done_callback(self._stayed)

    async def _look(self) -> None:
        while True:
            await self._subscription.changed()
            for registration in self._registrations:
                registration.look()

    def _stayed(self, task: asyncio.Task[None]) -> None:
        """One needs no registration any more; a subscription that nobody has is over."""
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.error("a host is not registered any more: %r", error)
        if all(one.is_over for one in self._registrations):
            self._ended = NoSuchSubscription(ENDED)
            self._closing = asyncio.create_task(self._subscription.close())

    async def next(self) -> Event:
        """The next event."""
        try:
            return await anext(self._subscription)
        except StopAsyncIteration:
            raise self._ended or NoSuchSubscription("the subscription has been closed") from None

    async def ack(self) -> None:
        """All that was handed out has been handled."""
        await self._subscription.ack()

    async def close(self) -> None:
        """End it; one without a name ends at the launchers too."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._wanted.name is None:
            await self._take_back()
        connections = [one.launcher for one in self._registrations]
        for connection in connections:
            connection.close()
        await asyncio.gather(*(one.aclose() for one in connections if isinstance(one, HostConnection)))
        self._shared.notices.close()
        await (self._closing or self._subscription.close())

    async def _take_back(self) -> None:
        ending = {asyncio.create_task(one.end()): one.key for one in self._registrations}
        if not ending:
            return
        within_s = min(_ENDS_WITHIN_S + _ENDS_WITHIN_S_EACH * (len(ending) - 1), _ENDS_WITHIN_S_MAX)
        done, late = await asyncio.wait(ending, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        left = [key for task, key in ending.items() if key != LOCAL and (task not in done or not task.result())]
        if left:
            log.warning("not unsubscribed at %s; there it ends by itself after a day", named(left))


async def _listen(wanted: Wanted, at: ListensAt) -> Subscription:
    return await Subscription.open(
        address=at.address,
        transport=at.transport,
        patterns=wanted.patterns,
        kinds=wanted.kinds,
        name=wanted.name,
        suspect_after_s=at.suspect_after_s,
    )
