"""Launchers of hosts, this one's among them, and what is to be done on each.

Knows how they are asked. Refuses to know how plans are carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from relaunch.applying.plan import Step, plan
from relaunch.applying.wanted import HERE, Wish
from relaunch.client import calls
from relaunch.client.asking import tasks, until_answered
from relaunch.client.calls import ANSWER_S, FANOUT, FOR_EVER_S, Call
from relaunch.client.cluster import Cluster
from relaunch.client.connection import Connection
from relaunch.client.ssh_command import PROMPTED_S
from relaunch.errors import OtherVersion, OutcomeUnknown, ProtocolBroken, RelaunchError
from relaunch.model import JobSpec, JobStatus

# A launcher that is replaced or dies is there again at once; a host that is cut off is not worth waiting for.
_TRIES = 3
_NO_METHOD = "org.varlink.service.MethodNotFound"

Steps = tuple[Step, ...]
Plans = Mapping[str, Steps | RelaunchError]


class Hosts:
    """The launchers of hosts, to be entered; this host's among them if it is named.

    Args:
        names: Of the hosts.
        fanout: How many are connected to at a time.
        timeout_s: How long a host may take to be reached and to answer what it can answer at once.
        prompts: Whether ssh may ask for a passphrase or password on the terminal; only where there is one host.
    """

    def __init__(
        self, names: Iterable[str], *, fanout: int = FANOUT, timeout_s: float = ANSWER_S, prompts: bool = False
    ) -> None:
        others = [name for name in names if name != HERE]
        prompts = prompts and len(others) == 1
        self._timeout_s = timeout_s + (PROMPTED_S if prompts else 0.0)
        self._here = Connection()
        self._cluster = Cluster(others, fanout=fanout, timeout_s=self._timeout_s, prompts=prompts)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._cluster)
        self._exits.callback(self._here.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def ask(self, host: str, call: Call, *, waits: bool = False) -> Any:
        """One call's answer, as it is on the wire; what is lost is asked again, so that it must be safe to.

        Args:
            host: One of the hosts.
            call: What is asked.
            waits: Whether the answer may take any time.

        Raises:
            RelaunchError: What the launcher answered, or that it could not be reached, or not in time.
        """
        # Grace of a stop, start and answer take what they take; a connection that breaks is noticed all the same.
        limit_s = FOR_EVER_S if waits else self._timeout_s

        async def ask(connection: Connection) -> Any:
            return await until_answered(connection, lambda: connection.call(call), tries=_TRIES)

        if host == HERE:
            try:
                async with asyncio.timeout(limit_s):
                    return await ask(self._here)
            except TimeoutError:
                raise OutcomeUnknown(f"the launcher did not answer within {limit_s:g} s") from None
        answer = await self._cluster.ask(host, ask, timeout_s=limit_s, waits=waits)
        if isinstance(answer, RelaunchError):
            raise answer
        return answer


async def look(hosts: Hosts, wish: Wish, *, prune: bool, looked: Callable[[str], None] = lambda _: None) -> Plans:
    """The plan for each host; for one that cannot be asked, the error.

    Args:
        hosts: Entered.
        wish: What is wanted of them.
        prune: Whether jobs that were applied before, and are wanted no more, are stopped.
        looked: Gets each host as soon as its plan is there.
    """
    plans: dict[str, Steps | RelaunchError] = dict.fromkeys(wish.hosts, ())

    async def one(host: str) -> None:
        try:
            specs = map(JobSpec.from_wire, await hosts.ask(host, calls.get_specs()))
            jobs = map(JobStatus.from_wire, await hosts.ask(host, calls.list_jobs()))
            plans[host] = plan(wish.hosts[host], specs, jobs, wish.names, prune=prune)
        except ProtocolBroken as error:
            plans[host] = _too_old(host) if _NO_METHOD in error.message else error
        except RelaunchError as error:
            plans[host] = error
        looked(host)

    async with tasks() as group:
        for host in wish.hosts:
            group.create_task(one(host))
    return plans


def _too_old(host: str) -> RelaunchError:
    where, over = (f"{host}: ", f" -H {host}") if host else ("", "")
    return OtherVersion(
        f"{where}the launcher is too old for this; take a newer one into use with: launch{over} serve --replace"
    )
