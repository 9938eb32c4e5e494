"""``relaunch.subscribe``: the events of launchers, for a program, over their sockets or as their subscriber.

Joins the client, which follows launchers (``followed``), and the subscriber, which launchers connect to (``served``).
Knows what may be asked for, and when an event counts as handled. Refuses to know how events travel.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from relaunch.client.calls import FANOUT
from relaunch.core.liveness import SUSPECT_AFTER_S, SUSPECT_AFTER_S_MAX, SUSPECT_AFTER_S_MIN
from relaunch.errors import BadCall
from relaunch.event import TYPE_PREFIX, Event
from relaunch.labels import compile_pattern
from relaunch.subscribing.wanted import ListensAt, Wanted
from relaunch.subscription import ALL_KINDS, Filter, check_name

if TYPE_CHECKING:
    from relaunch.transport.address import Address
    from relaunch.transport.stream import Kind

KINDS = tuple(
    "job.submitted job.waiting job.starting job.started job.ready job.not-ready job.stopping job.exited "
    "job.start-failed job.failed job.cancelled job.survived job.unloaded job.taken-in "
    "launcher.started launcher.restarted launcher.stopped launcher.lost journal.reset "
    "subscription.begun subscription.ended subscription.expired "
    "host.suspect host.lost host.back host.withdrawn host.rebooted "
    "stream.gap stream.reset stream.snapshot".split()
)
"""Every kind of event that a subscriber can be told."""


class _Events(Protocol):
    """Where the events come from."""

    @property
    def described(self) -> str: ...

    async def next(self) -> Event: ...

    async def ack(self) -> None: ...

    async def close(self) -> None: ...


def subscribe(  # noqa: PLR0913 - each has a name, and most are left out
    *patterns: str,
    kinds: Sequence[str] = (),
    name: str | None = None,
    since: int | None = None,
    since_at: float | None = None,
    serve: str | None = None,
    transport: str | None = None,
    suspect_after_s: float | None = None,
    advertise: str | None = None,
    hosts: str | Sequence[str] = (),
    fanout: int = FANOUT,
    path: str | None = None,
) -> "Subscriber":
    """A subscriber, to be entered: ``async with relaunch.subscribe("o*") as events:``.

    Without ``serve`` it follows this host's launcher over its socket. With it, it listens at an address, and the
    launcher connects to it there. With ``hosts`` it is all that for the launchers of other hosts, over ssh: one that
    cannot be reached holds up no other, and is tried until it can be. What there is to say of hosts is logged.

    Args:
        patterns: Labels or globs over them; without any, every label. What happens to launchers and hosts is told all
            the same.
        kinds: Such as ``job.exited``, globs over them such as ``host.*``, or ``all``; by default failures: how jobs
            end, starts that fail, jobs that are given up or not ready in time, launchers that start, and what is
            believed of hosts.
        name: With a name it lasts: the next subscriber of that name goes on where this one ended, and is handed once
            more, marked ``redelivered``, what this one had in hand when it died.
        since: Begin after this sequence of the journal; by default, now. A name that is known already goes on where it
            was, whatever is given here.
        since_at: Begin at this time, seconds since the epoch, likewise.
        serve: Where to listen: ``":9001"``, ``"10.0.0.1:9001"``, ``"[::1]:9001"``.
        transport: ``quic`` or ``tcp``; with ``serve`` only. By default ``quic``.
        suspect_after_s: After how much silence a host is suspected, 0.2 to 3600 seconds; with ``serve`` only. By
            default 3.
        advertise: Where launchers connect to, ``"HOST:PORT"`` or ``"HOST"``, where that is not where it listens; with
            ``serve`` only. By default the address that it listens at, or where that is every interface, the one that
            each host sees its ssh come from.
        hosts: As ``Cluster`` takes them; none means this host.
        fanout: How many hosts are connected to at a time.
        path: The launcher's socket; None means this user's own launcher on this host.

    Raises:
        Usage: Something that is asked for cannot be meant, or is no host's name; the line says what.
    """
    for pattern in patterns:
        compile_pattern(pattern)
    kinds = checked_kinds(kinds)
    if name is not None:
        check_name(name)
    if since is not None and since_at is not None:
        raise BadCall("since and since_at are two beginnings; give one of them")
    if hosts and path is not None:
        raise BadCall("path is a socket of this host, and hosts are others; give one of them")
    if serve is None:
        only = {"transport": transport, "suspect_after_s": suspect_after_s, "advertise": advertise}
        for argument, value in only.items():
            if value is not None:
                raise BadCall(f"{argument} means nothing without serve")
        at = None
    else:
        advertised = None if advertise is None else _advertised(advertise)
        at = ListensAt(_address(serve), _kind(transport), _suspect_after_s(suspect_after_s), advertised)
    return Subscriber(Wanted(patterns, kinds, name, since, since_at), at, path, _hosts(hosts), fanout)


def _hosts(hosts: str | Sequence[str]) -> tuple[str, ...]:
    if not hosts:
        return ()
    from relaunch.client.nodesets import hosts_of

    return tuple(hosts_of(hosts))


def _address(text: str) -> "Address":
    from relaunch.transport.address import parse_address

    return parse_address(text)


def _advertised(text: str) -> "Address":
    """With port 0 where none is given: then it is the one that it listens at."""
    from relaunch.transport.address import Address, parse_address

    address = parse_address(text)
    if not address.host:
        raise BadCall(f"advertise: {text!r} names no host that launchers could connect to")
    return Address(address.host, 0) if text in (address.host, f"[{address.host}]") else address


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

    def __init__(
        self, wanted: Wanted, at: ListensAt | None, path: str | None, hosts: Sequence[str] = (), fanout: int = FANOUT
    ) -> None:
        self._wanted = wanted
        self._at = at
        self._path = path
        self._hosts = hosts
        self._fanout = fanout
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
        if self._at is not None:
            from relaunch.subscribing.served import Served

            if self._hosts:
                return await Served.of_hosts(self._wanted, self._at, self._hosts, self._fanout)
            return await Served.of_this_host(self._wanted, self._at, self._path)
        from relaunch.subscribing.followed import Followed

        if self._hosts:
            return await Followed.of_hosts(self._wanted, self._hosts, self._fanout)
        return await Followed.of_this_host(self._wanted, self._path)

    def _entered(self) -> _Events:
        if self._events is None:
            raise BadCall("a subscriber is to be entered first: async with relaunch.subscribe(...) as events")
        return self._events
