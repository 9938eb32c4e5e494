"""``relaunch.subscribe``: the events of launchers, for a program, over the launcher's socket or as their subscriber.

Joins the client, which follows this host's launcher, and the subscriber, which launchers connect to. Knows what may be
asked for, and when an event counts as handled. Refuses to know how events travel.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from relaunch.core.delivery import Cursor
from relaunch.errors import BadCall, NoSuchSubscription, RelaunchError
from relaunch.event import TYPE_PREFIX, Event
from relaunch.labels import compile_pattern
from relaunch.subscription import ALL_KINDS, Filter, check_name

if TYPE_CHECKING:
    from relaunch.client.connection import Connection
    from relaunch.subscriber.subscription import Subscription
    from relaunch.transport.address import Address
    from relaunch.transport.stream import Kind

log = logging.getLogger(__name__)

KINDS = tuple(
    "job.submitted job.starting job.started job.stopping job.exited job.start-failed job.cancelled job.survived "
    "launcher.started launcher.restarted launcher.stopped launcher.lost journal.reset "
    "subscription.begun subscription.ended subscription.expired "
    "host.suspect host.lost host.back host.withdrawn host.rebooted "
    "stream.gap stream.reset stream.snapshot".split()
)
"""Every kind of event that a subscriber can be told."""
SUSPECT_AFTER_S = 3.0
SUSPECT_AFTER_S_MIN, SUSPECT_AFTER_S_MAX = 0.2, 3600.0
_LOCAL = "local"
_REGISTER_AGAIN_S_MIN, _REGISTER_AGAIN_S_MAX = 0.25, 5.0
_CONNECTS_WITHIN_S = 5.0
_UNSUBSCRIBE_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events, from where on; see ``subscribe``."""

    patterns: Sequence[str]
    kinds: Sequence[str]
    name: str | None
    since: int | None
    since_at: float | None


@dataclass(frozen=True, slots=True)
class ListensAt:
    """Where and how to listen; see ``subscribe``."""

    address: "Address"
    transport: "Kind"
    suspect_after_s: float


class _Events(Protocol):
    """Where the events come from."""

    @property
    def described(self) -> str: ...

    async def next(self) -> Event: ...

    async def ack(self) -> None: ...

    async def close(self) -> None: ...


def subscribe(
    *patterns: str,
    kinds: Sequence[str] = (),
    name: str | None = None,
    since: int | None = None,
    since_at: float | None = None,
    serve: str | None = None,
    transport: str | None = None,
    suspect_after_s: float | None = None,
    path: str | None = None,
) -> "Subscriber":
    """A subscriber, to be entered: ``async with relaunch.subscribe("o*") as events:``.

    Without ``serve`` it follows this host's launcher over its socket. With it, it listens at an address, and the
    launcher connects to it there.

    Args:
        patterns: Labels or globs over them; without any, every label. What happens to launchers and hosts is told all
            the same.
        kinds: Such as ``job.exited``, globs over them such as ``host.*``, or ``all``; by default failures: how jobs
            end, starts that fail, launchers that start, and what is believed of hosts.
        name: With a name it lasts: the next subscriber of that name goes on where this one ended, and is handed once
            more, marked ``redelivered``, what this one had in hand when it died.
        since: Begin after this sequence of the journal; by default, now. A name that is known already goes on where it
            was, whatever is given here.
        since_at: Begin at this time, seconds since the epoch, likewise.
        serve: Where to listen: ``":9001"``, ``"10.0.0.1:9001"``, ``"[::1]:9001"``.
        transport: ``quic`` or ``tcp``; with ``serve`` only. By default ``quic``.
        suspect_after_s: After how much silence a host is suspected, 0.2 to 3600 seconds; with ``serve`` only. By
            default 3.
        path: The launcher's socket; None means this user's own launcher on this host.

    Raises:
        Usage: Something that is asked for cannot be meant; the line says what.
    """
    for pattern in patterns:
        compile_pattern(pattern)
    kinds = checked_kinds(kinds)
    if name is not None:
        check_name(name)
    if since is not None and since_at is not None:
        raise BadCall("since and since_at are two beginnings; give one of them")
    if serve is None:
        for argument, value in {"transport": transport, "suspect_after_s": suspect_after_s}.items():
            if value is not None:
                raise BadCall(f"{argument} means nothing without serve")
        at = None
    else:
        at = ListensAt(_address(serve), _kind(transport), _suspect_after_s(suspect_after_s))
    return Subscriber(Wanted(patterns, kinds, name, since, since_at), at, path)


def _address(text: str) -> "Address":
    from relaunch.transport.address import parse_address

    return parse_address(text)


def _kind(given: str | None) -> "Kind":
    match given:
        case None | "quic":
            return "quic"
        case "tcp":
            return "tcp"
    raise BadCall(f"there is no transport {given!r}; there are quic and tcp")


def _suspect_after_s(given: float | None) -> float:
    if given is None:
        return SUSPECT_AFTER_S
    if not SUSPECT_AFTER_S_MIN <= given <= SUSPECT_AFTER_S_MAX:
        raise BadCall(f"suspect_after_s must be from {SUSPECT_AFTER_S_MIN} to {SUSPECT_AFTER_S_MAX:g}")
    return given


def checked_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """Kinds as a filter takes them.

    Raises:
        BadPattern: One is malformed.
        BadCall: One can match nothing; the line lists what there is.
    """
    kinds = tuple(kind.removeprefix(TYPE_PREFIX) for kind in kinds)
    for kind in kinds:
        if kind != ALL_KINDS and not any(map(compile_pattern(kind), KINDS)):
            raise BadCall(f"no kind of event matches {kind!r}; there are {', '.join(KINDS)}, globs over them, and all")
    Filter((), kinds)
    return kinds


class Subscriber:
    """Who receives events: an asynchronous iterator over them, while entered.

    Taking the next event acknowledges the one before. An event that is in hand when the subscriber ends has not been
    handled; ``ack`` says that it has.
    """

    def __init__(self, wanted: Wanted, at: ListensAt | None, path: str | None) -> None:
        self._wanted = wanted
        self._at = at
        self._path = path
        self._events: _Events | None = None

    async def __aenter__(self) -> Self:
        self._events = await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        events, self._events = self._events, None
        if events is not None:
            await events.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        events = self._entered()
        await events.ack()
        return await events.next()

    async def ack(self) -> None:
        """The event that was taken last has been handled, and all before it."""
        await self._entered().ack()

    @property
    def entered(self) -> bool:
        """Whether it receives."""
        return self._events is not None

    @property
    def described(self) -> str:
        """Where it gets its events from, for a person."""
        return self._entered().described

    async def _open(self) -> _Events:
        wanted = self._wanted
        if self._at is not None:
            return await _Served.open(wanted, self._at, self._path)
        from relaunch.client.follower import Follower

        return await Follower.open(
            path=self._path,
            patterns=wanted.patterns,
            kinds=wanted.kinds,
            name=wanted.name,
            since=wanted.since,
            since_at=wanted.since_at,
        )

    def _entered(self) -> _Events:
        if self._events is None:
            raise BadCall("a subscriber is to be entered first: async with relaunch.subscribe(...) as events")
        return self._events


class _Served:
    """A subscriber that listens, and is registered with this host's launcher for as long as it lasts."""

    def __init__(self, wanted: Wanted, launcher: "Connection", subscription: "Subscription") -> None:
        self._wanted = wanted
        self._launcher = launcher
        self._subscription = subscription
        self._registered_at = ("", 0)
        self._registering: asyncio.Task[None] | None = None
        self._ended: RelaunchError | None = None
        self.described = ""

    @classmethod
    async def open(cls, wanted: Wanted, at: ListensAt, path: str | None) -> "_Served":
        """Listen, and have the launcher connect.

        Raises:
            NoLauncher: Nobody listens on its socket.
            Refused: It cannot listen there, or the name is in use, or the launcher refuses it.
        """
        from relaunch.client.connection import Connection
        from relaunch.subscriber.subscription import Subscription

        async with Connection(path) as launcher:
            host = (await launcher.status()).host
            subscription = await Subscription.open(
                address=at.address,
                transport=at.transport,
                patterns=wanted.patterns,
                kinds=wanted.kinds,
                name=wanted.name,
                suspect_after_s=at.suspect_after_s,
            )
            served = cls(wanted, Connection(path), subscription)
            try:
                connected = await served._begin(launcher)
            except BaseException:
                await served.close()
                raise
        served.described = (
            f"listening at {subscription.address} ({at.transport}), registered with the launcher of {host}"
            f"{'' if connected else ', which has not connected yet'}"
        )
        served._registering = asyncio.create_task(served._stay_registered())
        return served

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
        """End it; one without a name ends at the launcher too."""
        if self._registering is not None:
            self._registering.cancel()
            await asyncio.wait({self._registering})
        if self._wanted.name is None and self._ended is None:
            # Where the launcher cannot be told, the lease ends it.
            with contextlib.suppress(RelaunchError, TimeoutError):
                async with asyncio.timeout(_UNSUBSCRIBE_WITHIN_S):
                    await self._launcher.unsubscribe(*self._subscription.ids().values())
        self._launcher.close()
        await self._subscription.close()

    async def _begin(self, launcher: "Connection") -> bool:
        """Register; gives whether the launcher has connected, which it is given a while for."""
        wanted = self._wanted
        from_now = wanted.since is None and wanted.since_at is None
        await self._register(launcher, first=True, from_now=from_now and not self._wants_snapshot())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECTS_WITHIN_S):
                while self._subscription.needs():
                    await self._subscription.changed()
        return not self._subscription.needs()

    def _wants_snapshot(self) -> bool:
        return Filter((), self._wanted.kinds)("stream.snapshot", None)

    async def _register(self, launcher: "Connection", *, first: bool = False, from_now: bool = False) -> None:
        journal = (await launcher.status()).journal
        since = self._wanted.since if first else None
        since_at = self._wanted.since_at if first else None
        if from_now:  # what happens before the launcher connects is to be told, and not only what came of it
            since = journal["last_sequence"]
        spec = self._subscription.request(_LOCAL)
        if not self._subscription.address.host:  # every interface, so this one too
            spec = replace(spec, address=f"127.0.0.1:{self._subscription.address.port}")
        answer = await launcher.subscribe(spec, since=since, since_at=since_at)
        self._registered_at = (journal["epoch"], journal["last_sequence"])
        cursor = None if answer.cursor is None else Cursor(answer.cursor["epoch"], answer.cursor["sequence"])
        self._subscription.registered(
            _LOCAL, source=answer.source, boot_id=answer.boot_id, run=answer.run, cursor=cursor
        )

    async def _stay_registered(self) -> None:
        """Register again where the launcher may have forgotten, as one with another journal has."""
        again_s = _REGISTER_AGAIN_S_MIN
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(again_s if self._subscription.needs() else None):
                    await self._subscription.changed()
            if not self._subscription.needs():
                again_s = _REGISTER_AGAIN_S_MIN
                continue
            try:
                if await self._was_ended():
                    break
                await self._register(self._launcher)
            except RelaunchError as error:
                log.debug("not registered: %s", error)
            await asyncio.sleep(_REGISTER_AGAIN_S_MIN)
            again_s = min(2 * again_s, _REGISTER_AGAIN_S_MAX)
        self._ended = NoSuchSubscription("the subscription was ended by: launch unsubscribe")
        await self._subscription.close()

    async def _was_ended(self) -> bool:
        """Whether somebody has ended the subscription since it was registered, so that it is to stay so."""
        epoch, since = self._registered_at
        ids = set(self._subscription.ids().values())
        kinds = ("subscription.ended",)
        async for event in self._launcher.events(kinds=kinds, since=since, epoch=epoch):
            if event.epoch == epoch and event.data.get("id") in ids:
                return True
        return False
