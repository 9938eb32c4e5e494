"""Keeps one launcher told of a subscription, for as long as that lasts.

Knows when a launcher may have forgotten it, or never had it, and how often it is asked then. Refuses to know of other
launchers, but for the one that turns out to be the same.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from relaunch.client.answers import LauncherStatus
from relaunch.client.connection import Connection
from relaunch.client.ssh import HostConnection
from relaunch.core.delivery import Cursor
from relaunch.errors import DialFailed, NoLauncher, NoSuchSubscription, Refused, RelaunchError, TimedOut
from relaunch.subscriber.subscription import Subscription
from relaunch.subscribing.hosts import Notices, Pace, Twins
from relaunch.subscribing.wanted import Wanted
from relaunch.transport.address import Address

LOCAL = "local"
ANSWERS_WITHIN_S = 15.0
CONNECTS_WITHIN_S = 6.0
ENDED = "the subscription was ended by: launch unsubscribe"


# What stands for all addresses of this host, and what this host itself may connect to then.
_EVERY_INTERFACE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is what a user may ask for


@dataclass(slots=True, kw_only=True)
class Shared:
    """What all registrations of a subscription have in common.

    Attributes:
        subscription: What is registered.
        wanted: From where on.
        advertise: Where launchers are to connect to; None where each is told what fits it.
        limit: How many are asked at a time.
        notices: Where it is said what becomes of hosts.
        twins: Which of them are the same.
        begun_at: When the subscriber began, wall time.
        has_begun: Whether its application has been told that it has.
    """

    subscription: Subscription
    wanted: Wanted
    advertise: Address | None
    limit: asyncio.Semaphore
    notices: Notices = field(default_factory=Notices)
    twins: Twins = field(default_factory=Twins)
    begun_at: float = field(default_factory=time.time)
    has_begun: bool = False


class Registration:
    """One launcher.

    Args:
        key: The host as the user calls it, or ``LOCAL``.
        launcher: The way to it.
        shared: What it has in common with the others.
        pace: How long to wait before it is asked again.

    Attributes:
        is_over: Whether it is to be told no more, and has nothing to be taken back.
        settled: Set once the first try has ended, well or not.
    """

    def __init__(self, key: str, launcher: Connection, shared: Shared, pace: Pace) -> None:
        self.key = key
        self.launcher = launcher
        self.is_over = False
        self.settled = asyncio.Event()
        self._shared = shared
        self._subscription = shared.subscription
        self._pace = pace
        self._changed = asyncio.Event()
        self._registered_at: tuple[str, int] | None = None
        self._asked = False
        self._tries = 0
        self._said: type[RelaunchError] | None = None

    @property
    def is_registered(self) -> bool:
        """Whether the launcher has said that it has the subscription."""
        return self._registered_at is not None

    def look(self) -> None:
        """The subscription may be better or worse off than before."""
        self._changed.set()

    async def stay(self) -> None:
        """Have the launcher know the subscription, until it is ended there, or the launcher turns out to be known."""
        while not self.is_over:
            if self._tries and not await self._is_due():
                continue
            try:
                async with self._shared.limit, asyncio.timeout(ANSWERS_WITHIN_S):
                    await self.register()
            except TimeoutError:
                self._failed(TimedOut(f"{self.key}: its launcher has not answered within {ANSWERS_WITHIN_S:g} seconds"))
            except RelaunchError as error:
                self._failed(error)
            else:
                await self._connected()
            finally:
                self.launcher.close()
                self.settled.set()

    async def _is_due(self) -> bool:
        """Whether it is to be told (again), after a while in which the launcher may come by itself."""
        if not self.is_registered:
            await asyncio.sleep(self._pace.next_s(self._said))
            return True
        await self._until(lambda: not self._subscription.is_well(self.key))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace.next_s(self._said)):
                await self._until(lambda: self._subscription.is_well(self.key))
        if not self._subscription.is_well(self.key):
            return True
        self._well("is heard again")
        return False

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def connects(self, within_s: float) -> bool:
        """Whether the launcher connects within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._until(lambda: self._subscription.is_well(self.key))
        return self._subscription.is_well(self.key)

    async def register(self) -> None:
        """Tell the launcher.

        Raises:
            RelaunchError: It could not be told.
        """
        first, self._tries = self._tries == 0, self._tries + 1
        run = self._subscription.run(self.key)
        try:
            status = await self.launcher.status()
        except NoLauncher:
            # Its keeper would hold the socket open while a launcher comes: so both are gone.
            if run is not None and not self._subscription.is_well(self.key):
                self._subscription.gone(self.key, run)
            raise
        if self._is_twin(status) or await self._was_ended():
            self.is_over = True
            self._subscription.forget(self.key)
            return
        journal = status.journal
        since, since_at = self._beginning(journal["last_sequence"], first=first)
        spec = replace(self._subscription.request(self.key), address=str(self._address()))
        self._asked = True
        answer = await self.launcher.subscribe(spec, since=since, since_at=since_at)
        self._registered_at = (journal["epoch"], journal["last_sequence"])
        cursor = None if answer.cursor is None else Cursor(answer.cursor["epoch"], answer.cursor["sequence"])
        self._subscription.registered(
            self.key, source=answer.source, boot_id=answer.boot_id, run=answer.run, cursor=cursor
        )

    def _beginning(self, last_sequence: int, *, first: bool) -> tuple[int | None, float | None]:
        """What happens before the launcher connects is to be told, and what has happened while it was out of reach."""
        wanted = self._shared.wanted
        if self.is_registered or wanted.from_snapshot:
            return None, None
        if not wanted.from_now:
            return wanted.since, wanted.since_at
        return (last_sequence, None) if first and not self._shared.has_begun else (None, self._shared.begun_at)

    def _address(self) -> Address:
        """Where this launcher is to connect to."""
        listens_at, advertise = self._subscription.address, self._shared.advertise
        if advertise is not None:
            return Address(advertise.host, advertise.port or listens_at.port)
        if listens_at.host not in _EVERY_INTERFACE:
            return listens_at
        if not isinstance(self.launcher, HostConnection):
            return Address(_EVERY_INTERFACE[listens_at.host], listens_at.port)
        if not self.launcher.client:
            raise Refused(
                f"{self.key} does not say what it sees this host as; say where it can connect to: --advertise"
            )
        return Address(self.launcher.client, listens_at.port)

    def _is_twin(self, status: LauncherStatus) -> bool:
        source = f"//{status.host}/relaunch/{status.uid}"
        first = self._shared.twins.first(self.key, source, status.journal["epoch"])
        if first != self.key:
            self._shared.notices.well(self.key, f"is the same launcher as {first}, and counts once")
        return first != self.key

    async def _was_ended(self) -> bool:
        """Whether somebody has ended the subscription since it was registered, so that it is to stay so."""
        if self._registered_at is None:
            return False
        epoch, since = self._registered_at
        own = self._subscription.ids().get(self.key)
        ends = self.launcher.events(kinds=("subscription.ended",), since=since, epoch=epoch)
        async with contextlib.aclosing(ends) as events:
            async for event in events:
                if event.epoch == epoch and event.data.get("id") == own:
                    message = ENDED if self.key == LOCAL else f"{self.key}: {ENDED}"
                    self._failed(NoSuchSubscription(message))
                    return True
        return False

    # What is said

    async def _connected(self) -> None:
        """See the launcher connect; where it does not, say what it says of that."""
        if self.is_over or await self.connects(CONNECTS_WITHIN_S):
            self._well("registered")
            return
        address, why = str(self._address()), None
        with contextlib.suppress(RelaunchError, TimeoutError):
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                own = self._subscription.ids().get(self.key)
                found = [one for one in await self.launcher.subscriptions() if one["id"] == own]
                if found and found[0]["state"] == "connected":
                    return
                address, why = (found[0]["address"], found[0]["error"]) if found else (address, None)
        self._failed(DialFailed(f"{self.key} cannot reach {address}: {why or 'it is still trying'}"))

    def _failed(self, error: RelaunchError) -> None:
        if type(error) is not self._said and self.key != LOCAL:
            self._said = type(error)
            self._shared.notices.failed(self.key, error)

    def _well(self, what: str) -> None:
        self._pace.reset()
        if self._said is not None and not self.is_over:
            self._shared.notices.well(self.key, what)
        self._said = None

    # The end

    async def end(self) -> bool:
        """Take it back, where the launcher may have it; gives whether that is done."""
        if self.is_over or not self._asked:
            return True
        try:
            async with self._shared.limit:
                await self.launcher.unsubscribe(self._subscription.ids()[self.key])
        except NoSuchSubscription:
            return True
        except RelaunchError:
            return False
        return True
