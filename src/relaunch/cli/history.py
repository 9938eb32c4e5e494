"""What has happened on many hosts, in one stream.

Knows how the events of many journals are put in order, and goes on through outages. Refuses to know how an event looks.
"""

from __future__ import annotations

from contextlib import aclosing

from relaunch.cli.interrupted import Interrupted
from relaunch.cli.interruption import run_until_interrupted
from relaunch.cli.progress import Progress
from relaunch.client.calls import ANSWER_S
from relaunch.client.cluster import Cluster
from relaunch.errors import OutcomeUnknown, RelaunchError, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from relaunch.cli.over import Over
    from relaunch.client.ssh import HostConnection
    from relaunch.event import Event

    Tell = Callable[[str, Event | RelaunchError], None]


def tell_past(
    over: Over, patterns: Sequence[str], since_at: float | None, count: int | None, tell: Tell
) -> dict[str, RelaunchError | None]:
    """Tell of what the journals hold, in the order of time, as far as the hosts' clocks have one.

    Returns:
        What failed, by host.

    Raises:
        Interrupted: A signal came; what was known then has been told.
    """
    failures: dict[str, RelaunchError | None] = {}
    progress = Progress(over.hosts)
    events: list[tuple[float, int, str, Event]] = []

    async def read(host: HostConnection) -> list[Event]:
        async with aclosing(host.events(*patterns, since_at=since_at, count=count)) as found:
            return [event async for event in found]

    async def work() -> None:
        async with _cluster(over) as cluster:
            async for host, answer in cluster.each(read):
                progress.took(host)
                if isinstance(answer, RelaunchError):
                    failures[host] = answer
                else:
                    failures[host] = None
                    events.extend((event.at, event.sequence, host, event) for event in answer)

    interrupted: Interrupted | None = None
    progress.begin()
    try:
        run_until_interrupted(work())
    except Interrupted as came:
        interrupted = came
        for host in over.hosts:
            failures.setdefault(host, OutcomeUnknown(f"{host}: interrupted before it answered"))
    finally:
        progress.end()
    _tell_in_order(events, tell)
    for host in over.hosts:
        error = failures.get(host)
        if error is not None:
            tell(host, error)
    if interrupted is not None:
        raise interrupted
    return failures


def _tell_in_order(events: Iterable[tuple[float, int, str, Event]], tell: Tell) -> None:
    # Of one journal, events stand in their order, whatever became of its clock.
    latest: dict[str, float] = {}
    keyed = []
    for at, sequence, host, event in events:
        latest[host] = max(at, latest.get(host, at))
        keyed.append((latest[host], host, sequence, event))
    for _, host, _, event in sorted(keyed, key=lambda one: one[:3]):
        tell(host, event)


def follow(over: Over, patterns: Sequence[str], since_at: float | None, count: int | None, tell: Tell) -> None:
    """Tell of what happens, and of hosts that are not heard, until interrupted.

    Raises:
        Usage: What is asked for is wrong.
    """

    async def work() -> None:
        async with (
            _cluster(over) as cluster,
            aclosing(cluster.events(*patterns, since_at=since_at, count=count)) as told,
        ):
            async for host, what in told:
                if isinstance(what, Usage):
                    raise what
                tell(host, what)

    run_until_interrupted(work(), shows=True)


def _cluster(over: Over) -> Cluster:
    return Cluster(
        over.hosts,
        fanout=over.fanout,
        timeout_s=over.timeout_s or ANSWER_S,
        connect_timeout_s=over.timeout_s,
        prompts=over.prompts,
    )
